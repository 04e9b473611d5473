"""Read the spool again: a file that no row names gets its reception and its job.

It lies there because its row could not be committed, or because the database was put back from
a back-up that is older than the image. Either way the image is ours to read, once.
"""

from schemas.jobs import Arrival, Receipt
from worker.listener.errors import StoreRefusedError
from worker.listener.header import read_identity
from worker.listener.spool import Spool
from worker.logs import log
from worker.queue.jobs import JobQueue


def recover(spool: Spool, queue: JobQueue) -> int:
    """Take in every kept file without a reception, the oldest first; return how many.

    It may be done at any time and any number of times, also while a listener receives.

    Raises:
        TransientError: the database was not there; what was taken in until then stays so.
    """
    orphans = sorted(queue.without_reception(spool.kept_files()), key=spool.kept_at)
    recovered = broken = 0
    for spool_file in orphans:
        try:
            arrival = _arrival_of(spool, spool_file)
        except (StoreRefusedError, OSError) as error:
            code = error.code if isinstance(error, StoreRefusedError) else "spool.unreadable"
            log.error("spool.orphan_unreadable", code=code)
            broken += 1
            continue
        recovered += queue.receive(arrival) is not Receipt.DUPLICATE
    if recovered:
        log.warning("spool.recovered", count=recovered)
        queue.record_event(
            event="spool_recovered",
            reason="Files lay in the spool that the database did not know.",
            detail={"count": recovered, "unreadable": broken},
        )
    return recovered


def _arrival_of(spool: Spool, spool_file: str) -> Arrival:
    meta, kept, path, offset = spool.read(spool_file)
    identity = read_identity(path, offset=offset, transfer_syntax_uid=meta.transfer_syntax_uid)
    return Arrival(
        sop_instance_uid=meta.sop_instance_uid,
        sop_class_uid=meta.sop_class_uid,
        study_instance_uid=identity.study_instance_uid or "",
        transfer_syntax_uid=meta.transfer_syntax_uid,
        digest=kept.digest,
        size_bytes=kept.size_bytes,
        spool_file=kept.spool_file,
        calling_ae=meta.calling_ae,
        called_ae=meta.called_ae,
        peer_address="",
        is_recovered=True,
    )
