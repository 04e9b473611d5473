"""What the queue makes of an arrival: the table of resends (DESIGN, section 4)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

import sqlalchemy as sa

from schemas.jobs import Arrival, JobState, Priority, Receipt, ReceptionState
from schemas.tables import Job, Reception
from worker.queue.dialect import insert_or_ignore_in, plain
from worker.queue.ledger import Ledger
from worker.queue.prepared import Prepared
from worker.queue.tombstones import retired_revision

#: a resend of the same bytes wakes a job up only here: elsewhere it is on its way, or done
_REVIVED = frozenset({JobState.FAILED, JobState.IGNORED, JobState.CANCELLED})
_RESTING = _REVIVED | {JobState.DELIVERED}

#: how much earlier than it did an urgent image counts as arrived: it goes before what came in the
#: quarter of an hour before it, and nobody waits for ever, however many are urgent
_HEAD_START: Mapping[Priority, timedelta] = MappingProxyType(
    {
        Priority.HIGH: timedelta(minutes=15),
        Priority.MEDIUM: timedelta(),
        Priority.LOW: timedelta(minutes=-15),
    }
)

# Statements of every image are made once: to make one takes longer than to send it.
_ADD = Prepared(
    lambda dialect: insert_or_ignore_in(dialect, Reception).returning(plain(Reception).c.id),
    columns=(
        *("sop_instance_uid", "digest", "sop_class_uid", "study_instance_uid"),
        *("transfer_syntax_uid", "size_bytes", "spool_file", "calling_ae", "called_ae"),
        *("peer_address", "received_at", "state"),
    ),
)
_BEAR = Prepared(
    lambda _: sa.insert(plain(Job)).returning(plain(Job).c.id),
    columns=(
        *("sop_instance_uid", "release", "state", "attempt", "revision", "reception_id"),
        *("run_after", "rank_at", "vanished", "is_isolated", "received_at", "updated_at"),
    ),
)
_IS_KNOWN = Prepared(
    lambda _: (
        sa.select(plain(Job).c.id)
        .where(plain(Job).c.sop_instance_uid == sa.bindparam("sop_instance_uid"))
        .limit(1)
    )
)
_JOB_OF = (
    sa.select(Job)
    .where(Job.sop_instance_uid == sa.bindparam("sop_instance_uid"))
    .order_by(Job.id.desc())
    .limit(1)
    .with_for_update()
)


def rank_of(priority: Priority, *, arrived_at: datetime) -> datetime:
    """Return the time by which a job is ordered: its age, moved by what its sender asked for."""
    return arrived_at - _HEAD_START[priority]


def take_in(ledger: Ledger, arrival: Arrival, *, release: str) -> Receipt:
    """Write down one arrival; the same one twice gives one reception and one job."""
    ledger.lock(f"SOP instance {arrival.sop_instance_uid}")
    reception_id = _add_reception(ledger, arrival)
    job = _job_of(ledger, arrival.sop_instance_uid)
    if reception_id is None and arrival.is_recovered:
        return Receipt.DUPLICATE  # its own listener was faster
    if reception_id is None:
        return _resent(ledger, arrival, job)
    if job is not None:
        return _changed(ledger, arrival, job, reception_id=reception_id)
    born = {
        "sop_instance_uid": arrival.sop_instance_uid,
        "release": release,
        "state": JobState.QUEUED,
        "attempt": 0,
        "revision": retired_revision(ledger.connection, arrival.sop_instance_uid),
        "reception_id": reception_id,
        "run_after": ledger.at,
        "rank_at": rank_of(arrival.priority, arrived_at=ledger.at),
        "vanished": 0,
        "is_isolated": False,
        "received_at": ledger.at,
        "updated_at": ledger.at,
    }
    ledger.note(
        _BEAR.execute(ledger.connection, born).scalar_one(),
        event="received",
        moved=(None, JobState.QUEUED),
        reason=Receipt.NEW,
        detail={**_detail(arrival), "reception_id": reception_id, "release": release},
    )
    return Receipt.NEW


def _add_reception(ledger: Ledger, arrival: Arrival) -> int | None:
    """Return the number of the new reception, or nothing if we hold these bytes already."""
    row = {
        "sop_instance_uid": arrival.sop_instance_uid,
        "digest": arrival.digest,
        "sop_class_uid": arrival.sop_class_uid,
        "study_instance_uid": arrival.study_instance_uid,
        "transfer_syntax_uid": arrival.transfer_syntax_uid,
        "size_bytes": arrival.size_bytes,
        "spool_file": arrival.spool_file,
        "calling_ae": arrival.calling_ae,
        "called_ae": arrival.called_ae,
        "peer_address": arrival.peer_address,
        "received_at": ledger.at,
        "state": ReceptionState.KEPT,
    }
    return _ADD.execute(ledger.connection, row).scalar_one_or_none()


def _job_of(ledger: Ledger, sop_instance_uid: str) -> Job | None:
    """Return the newest job for this UID, locked, whatever release it is for."""
    asked = {"sop_instance_uid": sop_instance_uid}
    if _IS_KNOWN.execute(ledger.connection, asked).first() is None:  # as for nearly all that arrive
        return None
    return ledger.session.scalars(_JOB_OF, asked).one_or_none()


def _resent(ledger: Ledger, arrival: Arrival, job: Job | None) -> Receipt:
    """The same bytes again: nothing new, but a job that had given up is tried once more."""
    reception = ledger.session.scalars(
        sa.select(Reception).where(
            Reception.sop_instance_uid == arrival.sop_instance_uid,
            Reception.digest == arrival.digest,
        )
    ).one()
    job_id = None if job is None else job.id
    reception.removed_at = None  # the listener has just kept the file again
    ledger.note(job_id, event="resent", reason=Receipt.DUPLICATE, detail=_detail(arrival))
    is_readable = reception.state is ReceptionState.KEPT
    if job is None or job.state not in _REVIVED or not is_readable:
        return Receipt.DUPLICATE
    job.reception_id = reception.id
    ledger.queue_again(job, event="requeued", reason=f"resent by {arrival.calling_ae}")
    return Receipt.REVIVED


def _changed(ledger: Ledger, arrival: Arrival, job: Job, *, reception_id: int) -> Receipt:
    """Other bytes under a UID that we know: inference compares them when the job is free."""
    detail = {**_detail(arrival), "reception_id": reception_id}
    ledger.note(job.id, event="received", reason=Receipt.CHANGED, detail=detail)
    if job.state in _RESTING:
        ledger.queue_again(job, event="requeued", reason=f"changed by {arrival.calling_ae}")
    return Receipt.CHANGED


def _detail(arrival: Arrival) -> dict[str, str | int | bool]:
    return {
        "calling_ae": arrival.calling_ae,
        "called_ae": arrival.called_ae,
        "digest": arrival.digest,
        "size_bytes": arrival.size_bytes,
        "priority": arrival.priority.value,
        **({"recovered": True} if arrival.is_recovered else {}),
    }
