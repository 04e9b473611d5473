"""One destination: its rows of the outbox, its troubles, its rest; nobody else waits for it."""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from schemas.config import DeliverySection
from schemas.errors import BoneAgeError, LeaseLostError, TransientError
from schemas.jobs import OutboxClaim
from worker.delivery.circuit import Circuit, shortened
from worker.delivery.confirmer import Confirmer
from worker.delivery.errors import (
    DestinationAwayError,
    DiskError,
    DoubtfulStatusError,
    GivenUpError,
    NoAnswerError,
    UnexpectedError,
)
from worker.delivery.heartbeat import Heartbeat
from worker.delivery.sender import Sender, Sent
from worker.delivery.statuses import retry_policy
from worker.logs import log
from worker.queue.outbox import Outbox

#: seldom mended by waiting: a few tries, counted in the database, so that a restart adds none
_DOUBTFUL = (DoubtfulStatusError, UnexpectedError)


class Lane:
    """Delivers to one destination, one object after another, in one thread.

    While the destination is away the whole lane rests: a C-ECHO knocks, and the objects wait
    without spending attempts. When it answers they go at once.
    """

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        *,
        confirmer: Confirmer,
        circuit: Circuit,
        section: DeliverySection,
        now: Callable[[], datetime],
    ) -> None:
        self.destination = circuit.destination
        self._outbox = outbox
        self._sender = sender
        self._confirmer = confirmer
        self._circuit = circuit
        self._now = now
        self._lease = timedelta(seconds=section.lease_seconds)
        self._give_up_after = timedelta(days=section.give_up_after_days)
        self._policy = retry_policy(section)
        self._is_aborted = threading.Event()

    def run_once(self) -> bool:
        """Send one object and ask for proofs, unless the lane rests; say if anything was due."""
        if self._circuit.is_open and not self._is_back():
            return False
        is_sent = self._send_one()
        return self._confirm() or is_sent

    def _send_one(self) -> bool:
        claim = self._outbox.claim(lease=self._lease, destinations=(self.destination,))
        if claim is None:
            self._sender.close()
            return False
        try:
            self._deliver(claim)
        except LeaseLostError as lost:
            log.warning("delivery.lease_lost", **_names(claim), code=lost.code)
        return True

    def _is_back(self) -> bool:
        """Knock, if it is time and something waits; what was put off goes out if it answers."""
        if not (self._circuit.is_due and self._outbox.is_owed(self.destination)):
            return False
        if self._circuit.probe():
            self._outbox.hasten(self.destination)
            return True
        error = self._given_up()
        failed = self._outbox.fail_overdue(
            self.destination, patience=self._give_up_after, error=str(error)
        )
        if failed:
            log.error(
                "delivery.failed", destination=self.destination, count=failed, code=error.code
            )
        self._confirmer.give_up_overdue()
        return False

    def _confirm(self) -> bool:
        try:
            return not self._circuit.is_open and self._confirmer.run_once()
        except DestinationAwayError:
            self._rest()
            return True

    def close(self) -> None:
        """End the associations in good manners."""
        self._sender.close()
        self._confirmer.close()

    def abort(self) -> None:
        """Cut a transfer that takes too long for a clean stop, from any thread.

        The object goes back with its attempt.
        """
        self._is_aborted.set()
        self._sender.abort()
        self._confirmer.abort()

    def _deliver(self, claim: OutboxClaim) -> None:
        started = time.monotonic()
        heartbeat = Heartbeat(self._outbox, claim, lease=self._lease)
        try:
            self._require_patience(claim)
            with heartbeat:
                sent = self._sender.send(claim)
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - the one place that maps errors to moves
            self._settle_failure(heartbeat.claim, error)
        else:
            self._settle(heartbeat.claim, sent, seconds=time.monotonic() - started)

    def _require_patience(self, claim: OutboxClaim) -> None:
        if self._now() - claim.created_at > self._give_up_after:
            raise self._given_up()

    def _given_up(self) -> GivenUpError:
        return GivenUpError(peer=self.destination, days=self._give_up_after / timedelta(days=1))

    def _settle(self, claim: OutboxClaim, sent: Sent, *, seconds: float) -> None:
        self._circuit.forget()
        self._outbox.mark_sent(
            claim,
            sop_instance_uid=sent.sop_instance_uid,
            status=sent.status,
            confirm_after=self._confirmer.confirm_after,
            digests=sent.digests,
        )
        status = f"0x{sent.status:04X}"
        log.info("delivery.sent", **_names(claim), status=status, seconds=round(seconds, 3))

    def _settle_failure(self, claim: OutboxClaim, error: Exception) -> None:
        if self._is_aborted.is_set() and isinstance(error, NoAnswerError):
            self._outbox.release(claim)
            return
        if isinstance(error, DestinationAwayError):
            self._rest()
        told = _in_our_words(error)
        if isinstance(told, UnexpectedError):
            log.error("delivery.unexpected", **_names(claim), exc_info=error)
        status = getattr(told, "status", None)
        if self._is_final(claim, told):
            self._outbox.fail(claim, status=status, error=str(told))
            log.error("delivery.failed", **_names(claim), code=told.code)
            return
        delay = shortened(self._policy.delay_after(claim.attempt))
        self._outbox.retry(
            claim,
            delay=delay,
            status=status,
            error=str(told),
            is_doubtful=isinstance(told, _DOUBTFUL),
        )
        seconds = round(delay.total_seconds(), 1)
        log.warning("delivery.retry", **_names(claim), code=told.code, delay_seconds=seconds)

    def _is_final(self, claim: OutboxClaim, error: BoneAgeError) -> bool:
        if isinstance(error, _DOUBTFUL):
            return self._policy.is_exhausted(claim.doubtful_tries + 1)
        return not isinstance(error, TransientError)

    def _rest(self) -> None:
        self._sender.close()
        self._circuit.trip()


def _in_our_words(error: Exception) -> BoneAgeError:
    if isinstance(error, BoneAgeError):
        return error
    if isinstance(error, OSError):
        return DiskError(errno=error.errno)
    return UnexpectedError(kind=type(error).__name__)


def _names(claim: OutboxClaim) -> dict[str, str | int]:
    return {
        "job_id": claim.job_id,
        "outbox_id": claim.outbox_id,
        "kind": claim.kind.value,
        "destination": claim.destination,
        "attempt": claim.attempt,
    }
