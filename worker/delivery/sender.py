"""Send one claimed object to one destination, in the first SOP class that it takes."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom.uid import SecondaryCaptureImageStorage

from schemas.config import PeerSection
from schemas.errors import BoneAgeError
from schemas.jobs import NewOutput, ObjectKind, OutboxClaim
from worker.delivery.errors import (
    DestinationBusyError,
    DoubtfulStatusError,
    NoClassTakenError,
    ObjectRefusedError,
)
from worker.delivery.objects import ResultFiles
from worker.delivery.scu import Association, StoredObject, open_association
from worker.delivery.statuses import Verdict, judge
from worker.queue.outbox import Outbox
from worker.reporting.identities import SR_CLASS_UIDS
from worker.reporting.structured_report import classes_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What the destination took, and what it said."""

    sop_instance_uid: str
    status: int
    digests: Mapping[str, str]  #: sha256 of the report that was built, by the name of its file


class Sender:
    """Holds the association with one peer; objects sent one after another share it."""

    def __init__(
        self,
        outbox: Outbox,
        peer: PeerSection,
        *,
        ae_title: str,
        files: ResultFiles,
        connect_timeout_seconds: float,
    ) -> None:
        self._outbox = outbox
        self._peer = peer
        self._ae_title = ae_title
        self._files = files
        self._connect_timeout_seconds = connect_timeout_seconds
        self._association: Association | None = None
        self._known_classes: dict[str, bool] = {}  # what this run has told the database

    def send(self, claim: OutboxClaim) -> Sent:
        """Send the object of ``claim`` and return what the destination made of it.

        Raises:
            BoneAgeError: the destination has not taken it; the family says whether waiting helps.
            OSError: our own disk.
        """
        association = self._associated()
        status: int | None = None
        for file in self._candidates(claim, association):
            self._outbox.record_output(claim, _output_of(file, kind=claim.kind))
            status = association.store(file)
            is_ours = file.sop_instance_uid in (*claim.taken_uids, claim.interrupted_uid)
            verdict = judge(status, is_ours=is_ours)
            self._remember(file.sop_class_uid, is_accepted=verdict is not Verdict.CLASS_REFUSED)
            if verdict is Verdict.STORED:
                digests = _digests_of(file, kind=claim.kind)
                uid = file.sop_instance_uid
                return Sent(sop_instance_uid=uid, status=status, digests=digests)
            if verdict is not Verdict.CLASS_REFUSED:
                raise self._error_for(verdict, status=status)
        raise NoClassTakenError(peer=self._peer.name, kind=claim.kind, status=status)

    def close(self) -> None:
        """End the association, if one is open."""
        association, self._association = self._association, None
        if association is not None:
            association.release()

    def abort(self) -> None:
        """Cut the association, from any thread; a ``send`` that waits raises ``NoAnswerError``."""
        association = self._association
        if association is not None:
            association.abort()

    def _candidates(self, claim: OutboxClaim, association: Association) -> Iterator[StoredObject]:
        """Yield the files to try, each made only when it is its turn."""
        if claim.kind is not ObjectKind.SR:
            capture = self._files.capture(claim.result_folder, kind=claim.kind)
            if association.takes(capture.sop_class_uid):
                yield capture
            return
        content = self._files.content(claim.result_folder)
        for sr in classes_for(content, self._peer.sr_classes):
            if association.takes(SR_CLASS_UIDS[sr]):
                yield self._files.report(claim.result_folder, content, sr=sr)

    def _associated(self) -> Association:
        if self._association is not None and self._association.is_open:
            return self._association
        self._association = None
        reports = [SR_CLASS_UIDS[sr] for sr in self._peer.sr_classes]
        wanted = [*reports, str(SecondaryCaptureImageStorage)]
        association = open_association(
            self._peer,
            ae_title=self._ae_title,
            sop_class_uids=wanted,
            connect_timeout_seconds=self._connect_timeout_seconds,
        )
        for uid in wanted:
            if not association.takes(uid):
                self._remember(uid, is_accepted=False)
            elif uid not in self._known_classes:
                self._remember(uid, is_accepted=True)
        self._association = association
        return association

    def _remember(self, sop_class_uid: str, *, is_accepted: bool) -> None:
        if self._known_classes.get(sop_class_uid) is not is_accepted:
            self._outbox.remember_peer(
                self._peer.name, sop_class_uid=sop_class_uid, is_accepted=is_accepted
            )
            self._known_classes[sop_class_uid] = is_accepted

    def _error_for(self, verdict: Verdict, *, status: int) -> BoneAgeError:
        if verdict is Verdict.RETRY:
            return DestinationBusyError(peer=self._peer.name, status=status)
        if verdict is Verdict.LIMITED:
            return DoubtfulStatusError(peer=self._peer.name, status=status)
        return ObjectRefusedError(peer=self._peer.name, status=status)


def _output_of(file: StoredObject, *, kind: ObjectKind) -> NewOutput:
    return NewOutput(
        kind=kind,
        sop_class_uid=file.sop_class_uid,
        sop_instance_uid=file.sop_instance_uid,
    )


def _digests_of(file: StoredObject, *, kind: ObjectKind) -> dict[str, str]:
    """Return the sha256 of a report; inference wrote down that of a capture."""
    if kind is not ObjectKind.SR:
        return {}
    return {file.path.name: hashlib.sha256(file.path.read_bytes()).hexdigest()}
