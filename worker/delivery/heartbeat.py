"""Keep a claim alive while its object travels over a slow line."""

import threading
from datetime import timedelta
from types import TracebackType
from typing import Self

from schemas.errors import LeaseLostError
from schemas.jobs import OutboxClaim
from worker.logs import log
from worker.queue.outbox import Outbox

_BEATS_PER_LEASE = 3


class Heartbeat:
    """Renews a claim three times a lease, from a thread of its own, until the block ends."""

    def __init__(self, outbox: Outbox, claim: OutboxClaim, *, lease: timedelta) -> None:
        self.claim = claim  #: the newest form of the claim; settle with it after the block
        self._outbox = outbox
        self._lease = lease
        self._ended = threading.Event()
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
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._lease.total_seconds() / _BEATS_PER_LEASE):
            try:
                self.claim = self._outbox.renew(self.claim, lease=self._lease)
            except LeaseLostError:
                return  # settling will find out
            except Exception:  # noqa: BLE001 - a busy database: the next beat may get through
                log.warning("delivery.renew_failed", job_id=self.claim.job_id, exc_info=True)
