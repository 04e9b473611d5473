"""A claim that is kept alive while it is worked on."""

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

#: how often a stop is looked for, at most
_TICK_SECONDS = 0.5


def end_process() -> None:
    """End this process at once; a thread that hangs in a driver cannot be ended otherwise.

    It is as safe as any power cut: the lease runs out, and the job is tried again.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a claim is held, and how long work may take."""

    lease: timedelta
    grace_seconds: float = 20  #: how long a stop waits for the job in hand
    #: far longer than any estimate, which takes a second or two on two busy cores (measured)
    longest: timedelta = timedelta(minutes=15)


class Heartbeat:
    """Renews a lease three times in its length, from a thread of its own, inside a ``with``.

    If a stop comes and the work is not done when the grace period ends, the claim is given back
    with its attempt: the work goes on and ends in ``LeaseLostError``, which is no failure.
    Work that takes longer than ``longest`` hangs, in a driver or a decoder: nothing is renewed
    any more, and ``on_stuck`` ends the process, so that its supervisor starts a fresh one.
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
        self._keeper = keeper
        self._claim = claim
        self._limits = limits
        self._stop = stop
        self._on_stuck = on_stuck
        self._done = threading.Event()
        self._turn = threading.Lock()  # held while the claim is renewed or given back
        self._is_at_rest = False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def rest(self) -> None:
        """Leave the claim alone from now on: it is about to be settled, which ends it.

        A renewal that is under way is waited for; work that hangs is still noticed.
        """
        with self._turn:
            self._is_at_rest = True

    def _beat(self) -> None:
        pause = self._limits.lease.total_seconds() / 3
        begun = monotonic()
        next_renewal, grace_ends = begun + pause, math.inf
        while not self._done.wait(min(pause, _TICK_SECONDS)):
            now = monotonic()
            if self._stop.is_set():
                grace_ends = min(grace_ends, now + self._limits.grace_seconds)
            if now >= grace_ends:
                with self._turn:
                    return None if self._is_at_rest else self._give_back()
            if now >= begun + self._limits.longest.total_seconds():
                log.error("heartbeat.stuck", job_id=self._claim.job_id, seconds=round(now - begun))
                return self._on_stuck()
            if now >= next_renewal:
                next_renewal = now + pause
                with self._turn:
                    if not (self._is_at_rest or self._renewed()):
                        return None
        return None

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
