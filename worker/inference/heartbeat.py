"""A claim that is kept alive while it is worked on."""

import faulthandler
import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from schemas.errors import LeaseLostError
from schemas.jobs import Claim
from worker.logs import log
from worker.queue.heartbeat import Pulse, pause_within

#: how often a stop is looked for, at most
_TICK_SECONDS = 0.5
_STANDARD_ERROR = 2
#: faulthandler takes no time that is over
_AT_ONCE_SECONDS = 0.001


def end_process() -> None:
    """End this process at once; a thread that hangs in a driver cannot be ended otherwise.

    It is as safe as any power cut: the supervisor starts a fresh one.
    """
    os._exit(os.EX_SOFTWARE)


class ClaimKeeper(Protocol):
    """What a heartbeat needs of the queue."""

    def renew(self, claim: Claim, *, lease: timedelta) -> Claim:
        """Hold the claim for another lease."""
        ...

    def release(self, claim: Claim) -> None:
        """Give the claim back with its attempt."""
        ...

    def take_overdue(self, claim: Claim, *, deadline: timedelta) -> None:
        """Take the claim from work that hangs; the attempt counts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a claim is held, and how long work may take."""

    lease: timedelta
    grace_seconds: float = 20  #: how long a stop waits for the job in hand
    #: far longer than any estimate, which takes a second or two on two busy cores (measured)
    deadline: timedelta = timedelta(minutes=15)
    #: work that holds the interpreter itself, and this heartbeat with it, is ended so much later
    margin: timedelta = timedelta(seconds=30)


class _Watchdog:
    """Ends the process when the work that must end first has not: faulthandler watches one end."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._ends: dict[object, float] = {}

    def watch(self, work: object, *, ends: float) -> None:
        """End the process at ``ends`` on the monotonic clock, unless ``work`` is forgotten."""
        with self._turn:
            self._ends[work] = ends
            self._set()

    def forget(self, work: object) -> None:
        """Let ``work`` be: it has ended."""
        with self._turn:
            self._ends.pop(work, None)
            self._set()

    def _set(self) -> None:
        if not self._ends:
            faulthandler.cancel_dump_traceback_later()
            return
        seconds = max(min(self._ends.values()) - monotonic(), _AT_ONCE_SECONDS)
        faulthandler.dump_traceback_later(seconds, exit=True, file=_STANDARD_ERROR)


_WATCHDOG = _Watchdog()  # there is one faulthandler in a process


class Heartbeat(Pulse):
    """Renews a lease three times in its length, from a thread of its own, inside a ``with``.

    If a stop comes and the work is not done when the grace period ends, the claim is given back
    with its attempt: the work goes on and ends in ``LeaseLostError``, which is no failure.
    Work that takes longer than ``deadline`` hangs, in a driver or a decoder: the claim is taken
    from it, and ``on_stuck`` ends the process, so that its supervisor starts a fresh one. A decoder
    may hang while it holds the interpreter, so that no thread of Python runs any more, this one
    included: then the process is ended by a watchdog of faulthandler's, which needs none.
    """

    def __init__(
        self,
        keeper: ClaimKeeper,
        claim: Claim,
        *,
        limits: Limits,
        stop: threading.Event,
        on_stuck: Callable[[], None],
    ) -> None:
        self._pause = pause_within(limits.lease)
        super().__init__(seconds=min(self._pause, _TICK_SECONDS))
        self._keeper = keeper
        self._claim = claim
        self._limits = limits
        self._stop = stop
        self._on_stuck = on_stuck
        self._turn = threading.Lock()  # held while the claim is renewed or given back
        self._is_at_rest = False
        self._begun = monotonic()
        self._next_renewal, self._grace_ends = self._begun + self._pause, math.inf

    def __enter__(self) -> Self:
        seconds = (self._limits.deadline + self._limits.margin).total_seconds()
        _WATCHDOG.watch(self, ends=self._begun + seconds)
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        _WATCHDOG.forget(self)

    def rest(self) -> None:
        """Leave the claim alone from now on: it is about to be settled, which ends it.

        A renewal that is under way is waited for; work that hangs is still noticed.
        """
        with self._turn:
            self._is_at_rest = True

    def beat(self) -> bool:
        """Renew, give back or end, whatever is due; return whether to go on."""
        now = monotonic()
        if self._stop.is_set():
            self._grace_ends = min(self._grace_ends, now + self._limits.grace_seconds)
        if now >= self._grace_ends:
            with self._turn:
                if not self._is_at_rest:
                    self._give_back()
            return False
        if now >= self._begun + self._limits.deadline.total_seconds():
            self._end_stuck(seconds=now - self._begun)
            return False
        if now < self._next_renewal:
            return True
        self._next_renewal = now + self._pause
        with self._turn:
            return self._is_at_rest or self._renewed()

    def _renewed(self) -> bool:
        """Renew once; a database that is away now may be back at the next beat."""
        try:
            self._keeper.renew(self._claim, lease=self._limits.lease)
        except LeaseLostError as error:
            log.warning("heartbeat.lost", job_id=self._claim.job_id, code=error.code)
            return False
        except Exception as error:  # noqa: BLE001 - a thread that dies would lose the claim in silence
            log.warning("heartbeat.missed", job_id=self._claim.job_id, family=type(error).__name__)
        return True

    def _give_back(self) -> None:
        try:
            self._keeper.release(self._claim)
            log.info("heartbeat.released", job_id=self._claim.job_id)
        except Exception as error:  # noqa: BLE001 - the lease runs out by itself, and rescue follows
            log.warning("heartbeat.kept", job_id=self._claim.job_id, family=type(error).__name__)

    def _end_stuck(self, *, seconds: float) -> None:
        """Take the job from work that hangs, then end what cannot be ended otherwise."""
        log.error("heartbeat.stuck", job_id=self._claim.job_id, seconds=round(seconds))
        try:
            self._keeper.take_overdue(self._claim, deadline=self._limits.deadline)
        except Exception as error:  # noqa: BLE001 - the lease runs out by itself, and rescue follows
            log.warning("heartbeat.kept", job_id=self._claim.job_id, family=type(error).__name__)
        self._on_stuck()
