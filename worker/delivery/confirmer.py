"""Ask one destination for proof that it keeps what it took, and act on what comes, or does not.

A report of storage commitment may come on the association of the request, held open for a while,
or on a new one to our listener; both write it to the same rows.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
)

from schemas.config import CommitmentKind, DeliverySection, PeerSection
from schemas.errors import BoneAgeError
from schemas.jobs import CommitmentRequest, OwedProof
from worker.delivery.errors import (
    DestinationAwayError,
    NeverProvedError,
    NoProofError,
    ProofRefusedError,
)
from worker.delivery.objects import ResultFiles
from worker.delivery.scu import Association, open_association
from worker.delivery.statuses import retry_policy
from worker.logs import log
from worker.queue.commitments import Commitments
from worker.reporting.commitment_report import CommitmentReportError, read_commitment_report

#: report and capture of one job are sent within it, and asked for together; an archive that
#: writes its index after its answer has written it by then
CONFIRM_AFTER = timedelta(seconds=1)
#: how long an association waits for its report; Orthanc reports after 0.2 s (measured)
HOLD_SECONDS = 15.0

_SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110  # PS3.7 annex C.5
_INVALID_ARGUMENT = 0x0115  # PS3.7 annex C.5


class Confirmer:
    """Looks after the proofs of one destination; used by the thread of its lane."""

    def __init__(
        self,
        commitments: Commitments,
        peer: PeerSection,
        *,
        ae_title: str,
        files: ResultFiles,
        section: DeliverySection,
        now: Callable[[], datetime],
    ) -> None:
        self._commitments = commitments
        self._peer = peer
        self._ae_title = ae_title
        self._files = files
        self._now = now
        self._connect_timeout_seconds = section.connect_timeout_seconds
        self._patience = timedelta(seconds=section.commitment_timeout_seconds)
        self._give_up_after = timedelta(days=section.give_up_after_days)
        self._policy = retry_policy(section)
        self._failures = 0  # in a row
        self._line: Association | None = None
        self._line_ends_at = 0.0
        self._open_requests: set[str] = set()  # on the line, not reported yet

    @property
    def confirm_after(self) -> timedelta | None:
        """Return when to ask for an object that was just sent; None: nothing more is owed."""
        return None if self._peer.commitment is CommitmentKind.NONE else CONFIRM_AFTER

    def run_once(self) -> bool:
        """Do what is due now; say whether anything was.

        Raises:
            DestinationAwayError: nobody there; what was due is due again later.
        """
        self._end_line_if_done()
        proofs = self._commitments.due(self._peer.name)
        waiting = [proof for proof in proofs if not self._is_given_up(proof)]
        if self._peer.commitment is CommitmentKind.NONE:
            for proof in waiting:
                self._commitments.confirm(proof, how="proof is no longer asked for")
        elif self._peer.commitment is CommitmentKind.FIND:
            self._look_for(waiting)
        else:
            self._look_after_silent([proof for proof in waiting if proof.is_asked])
            if any(not proof.is_asked for proof in waiting):
                self._ask()
        return bool(proofs)

    def give_up_overdue(self) -> None:
        """Give up what was owed for too long, although nobody is there to be asked."""
        for proof in self._commitments.due(self._peer.name):
            self._is_given_up(proof)

    def close(self) -> None:
        """End the association, if one is open; a report then comes to our listener."""
        line, self._line = self._line, None
        self._open_requests.clear()
        if line is not None:
            line.release()

    def abort(self) -> None:
        """Cut the association, from any thread."""
        if self._line is not None:
            self._line.abort()

    def _is_given_up(self, proof: OwedProof) -> bool:
        if self._now() - proof.owed_since <= self._give_up_after:
            return False
        error = NeverProvedError(peer=self._peer.name, days=self._give_up_after / timedelta(days=1))
        self._commitments.give_up(proof, error=str(error))
        log.error("delivery.failed", **_names(proof), code=error.code)
        return True

    # storage commitment

    def _ask(self) -> None:
        request = self._commitments.begin(self._peer.name, patience=self._patience)
        if request is None:
            return
        self._open_requests.add(request.transaction_uid)
        try:
            self._send(request)
        except BoneAgeError as error:
            self._open_requests.discard(request.transaction_uid)
            self._commitments.put_off(request, delay=self._pause(), error=str(error))
            log.warning("commitment.not_asked", destination=self._peer.name, code=error.code)
            if isinstance(error, DestinationAwayError):
                raise
            return
        self._failures = 0
        log.info("commitment.asked", destination=self._peer.name, count=len(request.proofs))

    def _send(self, request: CommitmentRequest) -> None:
        line = self._open_line()
        if not line.takes(StorageCommitmentPushModel):
            raise ProofRefusedError(peer=self._peer.name, how="storage commitment", status=None)
        status = line.request_commitment(request)
        if status != _SUCCESS:
            raise ProofRefusedError(peer=self._peer.name, how="storage commitment", status=status)

    def _open_line(self) -> Association:
        if self._line is None or not self._line.is_open:
            self._line = open_association(
                self._peer,
                ae_title=self._ae_title,
                sop_class_uids=[StorageCommitmentPushModel],
                connect_timeout_seconds=self._connect_timeout_seconds,
                handlers=[(evt.EVT_N_EVENT_REPORT, self._handle_report)],
            )
        self._line_ends_at = time.monotonic() + HOLD_SECONDS
        return self._line

    def _end_line_if_done(self) -> None:
        if self._line is None:
            return
        if not self._open_requests or time.monotonic() > self._line_ends_at:
            self.close()

    def _handle_report(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take a report on the association of its request, in pynetdicom's thread."""
        try:
            report = read_commitment_report(event.event_information, event_type=event.event_type)
            moved = self._commitments.settle(
                report, destinations=[self._peer.name], delay=self._policy.first_delay
            )
        except CommitmentReportError as error:
            log.warning("commitment.refused", destination=self._peer.name, code=error.code)
            return _INVALID_ARGUMENT, None
        except Exception:  # noqa: BLE001 - the archive must hear that its report was not taken
            log.exception("commitment.failed", destination=self._peer.name)
            return _PROCESSING_FAILURE, None
        self._open_requests.discard(report.transaction_uid)
        log.info("commitment.reported", destination=self._peer.name, count=moved)
        return _SUCCESS, None

    def _look_after_silent(self, proofs: Sequence[OwedProof]) -> None:
        """The report did not come in time: look for the object, or send it again."""
        if self._peer.find_when_silent:
            self._look_for(proofs)
            return
        for proof in proofs:
            self._send_again(proof, how="storage commitment")

    # C-FIND

    def _look_for(self, proofs: Sequence[OwedProof]) -> None:
        if not proofs:
            return
        line: Association | None = None
        try:
            line = open_association(
                self._peer,
                ae_title=self._ae_title,
                sop_class_uids=[StudyRootQueryRetrieveInformationModelFind],
                connect_timeout_seconds=self._connect_timeout_seconds,
            )
            for proof in proofs:
                self._judge(proof, is_found=self._find(line, proof))
            self._failures = 0
        except BoneAgeError as error:
            pause = self._pause()
            for proof in proofs:
                self._commitments.look_again(proof, delay=pause, error=str(error))
            log.warning("commitment.not_found", destination=self._peer.name, code=error.code)
            if isinstance(error, DestinationAwayError):
                raise
        finally:
            if line is not None:
                line.release()

    def _find(self, line: Association, proof: OwedProof) -> bool:
        if not line.takes(StudyRootQueryRetrieveInformationModelFind):
            raise ProofRefusedError(peer=self._peer.name, how="C-FIND", status=None)
        place = self._files.place_of(
            proof.result_folder, kind=proof.kind, sop_class_uid=proof.sop_class_uid
        )
        is_found, status = line.find_instance(place)
        if status != _SUCCESS:
            raise ProofRefusedError(peer=self._peer.name, how="C-FIND", status=status)
        return is_found

    def _judge(self, proof: OwedProof, *, is_found: bool) -> None:
        is_over = self._now() - proof.sent_at > self._patience
        if is_found:
            self._commitments.confirm(proof, how="C-FIND")
            log.info("commitment.found", **_names(proof))
        elif is_over or self._peer.commitment is not CommitmentKind.FIND:
            self._send_again(proof, how="C-FIND")
        else:
            delay = self._policy.delay_after(proof.rounds + 1)
            self._commitments.look_again(proof, delay=delay, error="")

    def _send_again(self, proof: OwedProof, *, how: str) -> None:
        error = NoProofError(peer=self._peer.name, how=how)
        delay = self._policy.delay_after(max(proof.rounds, 1))
        self._commitments.send_again(proof, delay=delay, error=str(error))
        log.warning("commitment.missing", **_names(proof), code=error.code)

    def _pause(self) -> timedelta:
        self._failures += 1
        return self._policy.delay_after(self._failures)


def _names(proof: OwedProof) -> dict[str, str | int]:
    return {
        "job_id": proof.job_id,
        "outbox_id": proof.outbox_id,
        "kind": proof.kind.value,
        "destination": proof.destination,
    }
