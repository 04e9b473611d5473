"""A claim that is kept alive while it is worked on."""

import threading
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

from schemas.errors import LeaseLostError
from schemas.jobs import Claim
from worker.logs import log

#: how often a stop is looked for, at most
_TICK_SECONDS = 0.5


class ClaimKeeper(Protocol):
    """What a heartbeat needs of the queue."""

    def renew(self, claim: Claim, *, lease: timedelta) -> Claim:
        """Hold the claim for another lease."""
        ...

    def release(self, claim: Claim) -> None:
        """Give the claim back with its attempt."""
        ...


class Heartbeat:
    """Renews a lease three times in its length, from a thread of its own, inside a ``with``.

    If a stop comes and the work is not done when the grace period ends, the claim is given back
    with its attempt: the work goes on and ends in ``LeaseLostError``, which is no failure.
    """

    def __init__(
        self,
        keeper: ClaimKeeper,
        claim: Claim,
        *,
        lease: timedelta,
        stop: threading.Event,
        grace_seconds: float,
    ) -> None:
        self._keeper = keeper
        self._claim = claim
        self._lease = lease
        self._stop = stop
        self._grace_seconds = grace_seconds
        self._done = threading.Event()
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

    def _beat(self) -> None:
        pause = self._lease.total_seconds() / 3
        next_renewal = monotonic() + pause
        grace_ends: float | None = None
        while not self._done.wait(min(pause, _TICK_SECONDS)):
            now = monotonic()
            if self._stop.is_set():
                grace_ends = grace_ends or now + self._grace_seconds
                if now >= grace_ends:
                    self._give_back()
                    return
            if now >= next_renewal:
                next_renewal = now + pause
                if not self._renewed():
                    return

    def _renewed(self) -> bool:
        """Renew once; a database that is away now may be back at the next beat."""
        try:
            self._keeper.renew(self._claim, lease=self._lease)
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
