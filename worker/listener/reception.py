"""What becomes of one object that has arrived whole: kept, recognised as our own, or refused."""

from dataclasses import dataclass
from errno import ENOENT

from schemas.jobs import Arrival, Priority, Receipt
from schemas.results import SOFTWARE_NAME
from worker.listener.contexts import REPORTS, SECONDARY_CAPTURES
from worker.listener.errors import (
    ForeignReportError,
    MismatchError,
    QueueWriteError,
    SpoolWriteError,
    StoreRefusedError,
    UnreadableDatasetError,
    WrongClassError,
)
from worker.listener.header import ObjectIdentity, is_uid, read_identity
from worker.listener.pace import Pace, Repeated, counted
from worker.listener.spool import FileMeta, IncomingFile, Spool
from worker.logs import log
from worker.queue.jobs import JobQueue

_OUR_EQUIPMENT = SOFTWARE_NAME.encode()
#: rows a minute for each kind of refusal and peer: a day of honest mistakes has each its row
_MOST_ROWS = 20
_NEVER_READ = SECONDARY_CAPTURES | REPORTS  #: so the equipment may tell whose they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whence an object came, and under which presentation context."""

    calling_ae: str
    called_ae: str
    peer_address: str
    context_class_uid: str  #: abstract syntax of the presentation context
    priority: Priority = Priority.MEDIUM


class Reception:
    """Keeps objects: first the file, then reception and job. Shared by all handler threads."""

    def __init__(self, *, spool: Spool, queue: JobQueue) -> None:
        self._spool = spool
        self._queue = queue
        self._pace = Pace(most=_MOST_ROWS)

    def sweep(self) -> int:
        """Remove the halves of an earlier listener and write down how many there were."""
        halves = self._spool.sweep()
        if halves:
            log.warning("receive.halves_removed", count=halves)
            self._queue.record_event(
                event="halves_removed",
                reason="They were arriving when an earlier listener ended; none was acknowledged.",
                detail={"count": halves},
            )
        return halves

    def keep(self, incoming: IncomingFile | None, origin: Origin) -> Receipt | None:
        """Keep one object and its job; ``None``: it is an object of ours, and nothing was kept.

        When this returns, Success may be answered. The half is gone, however it ends.

        Raises:
            StoreRefusedError: nothing was acknowledged; it carries the status for the sender.
        """
        if incoming is None:
            raise UnreadableDatasetError(what="there is none")
        try:
            return self._keep(incoming, origin)
        except StoreRefusedError as error:
            if error.is_audited:
                self._record("refused", error.code, incoming=incoming, origin=origin)
            raise
        finally:
            incoming.discard()

    def _keep(self, incoming: IncomingFile, origin: Origin) -> Receipt | None:
        digest = incoming.finish()
        meta = incoming.meta
        if meta.sop_class_uid != origin.context_class_uid:
            raise WrongClassError
        identity = read_identity(
            incoming.path,
            offset=incoming.dataset_offset,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            front=incoming.front,
        )
        study_instance_uid = _require_match(identity, meta)
        if self._is_ours(identity, meta):
            self._record("own_object_returned", "", incoming=incoming, origin=origin)
            return None
        if meta.sop_class_uid in REPORTS:
            raise ForeignReportError
        kept = self._spool.keep(incoming, sop_instance_uid=meta.sop_instance_uid)
        arrival = Arrival(
            sop_instance_uid=meta.sop_instance_uid,
            sop_class_uid=meta.sop_class_uid,
            study_instance_uid=study_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            digest=digest,
            size_bytes=kept.size_bytes,
            spool_file=kept.spool_file,
            calling_ae=origin.calling_ae,
            called_ae=origin.called_ae,
            peer_address=origin.peer_address,
            priority=origin.priority,
        )
        try:
            receipt = self._queue.receive(arrival)
        except Exception as error:
            log.exception("receive.not_committed")
            raise QueueWriteError from error
        if not self._spool.holds(kept.spool_file):  # retention took it a moment ago: once more
            raise SpoolWriteError(errno=ENOENT)
        return receipt

    def write_left_out(self, *, is_last: bool = False) -> None:
        """Write how many were left out of the trail, as ``Pace`` does."""
        self._pace.write_left_out(self._queue, is_last=is_last)

    def _is_ours(self, identity: ObjectIdentity, meta: FileMeta) -> bool:
        if meta.sop_class_uid in _NEVER_READ and _OUR_EQUIPMENT in (
            identity.manufacturer,
            identity.model_name,
        ):
            return True
        try:
            return self._queue.is_own_object(meta.sop_instance_uid)
        except Exception as error:
            log.exception("receive.not_committed")
            raise QueueWriteError from error

    def _record(self, event: str, code: str, *, incoming: IncomingFile, origin: Origin) -> None:
        meta = incoming.meta
        left_out = self._pace.left_out(
            Repeated(
                event=event,
                code=code,
                calling_ae=origin.calling_ae,
                peer_address=origin.peer_address,
            )
        )
        if left_out is None:
            return
        try:
            self._queue.record_event(
                event=event,
                reason=code,
                detail={
                    "calling_ae": origin.calling_ae,
                    "called_ae": origin.called_ae,
                    "peer_address": origin.peer_address,
                    "sop_class_uid": meta.sop_class_uid,
                    "sop_instance_uid": meta.sop_instance_uid,
                    "transfer_syntax_uid": meta.transfer_syntax_uid,
                    "size_bytes": incoming.size_bytes,
                    **counted(left_out),
                },
            )
        except Exception as error:
            log.exception("receive.not_committed")
            raise QueueWriteError from error


def _require_match(identity: ObjectIdentity, meta: FileMeta) -> str:
    """Return the Study Instance UID of a data set that is what its request says.

    Raises:
        MismatchError: a UID is absent, malformed, or not the announced one.
    """
    announced = (
        ("SOPClassUID", identity.sop_class_uid, meta.sop_class_uid),
        ("SOPInstanceUID", identity.sop_instance_uid, meta.sop_instance_uid),
        ("StudyInstanceUID", identity.study_instance_uid, identity.study_instance_uid),
    )
    for keyword, found, expected in announced:
        if not found:
            raise MismatchError(keyword=keyword, found="absent")
        if not is_uid(found):
            raise MismatchError(keyword=keyword, found="malformed")
        if found != expected:
            raise MismatchError(keyword=keyword, found="other")
    return identity.study_instance_uid or ""
