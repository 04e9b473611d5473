"""Keep a claim alive while its object travels over a slow line."""

from datetime import timedelta

from schemas.errors import LeaseLostError
from schemas.jobs import OutboxClaim
from worker.logs import log
from worker.queue.heartbeat import Pulse, pause_within
from worker.queue.outbox import Outbox


class Heartbeat(Pulse):
    """Renews a claim three times a lease, until the block ends."""

    def __init__(self, outbox: Outbox, claim: OutboxClaim, *, lease: timedelta) -> None:
        super().__init__(seconds=pause_within(lease))
        self.claim = claim  #: the newest form of the claim; settle with it after the block
        self._outbox = outbox
        self._lease = lease

    def beat(self) -> bool:
        """Renew once; a claim that is lost is found out by who settles it."""
        try:
            self.claim = self._outbox.renew(self.claim, lease=self._lease)
        except LeaseLostError:
            return False
        except Exception:  # noqa: BLE001 - a busy database: the next beat may get through
            log.warning("delivery.renew_failed", job_id=self.claim.job_id, exc_info=True)
        return True
