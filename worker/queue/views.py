"""What comes out of the tables to be looked at: frozen, complete, without a session."""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.errors import NoSuchJobError
from schemas.inquiries import JobFilter, ReceptionView
from schemas.jobs import DestinationView, JobEvent, JobState, JobView, ReceptionState
from schemas.tables import Job, JobEventRow, OutboxRow, Reception, Result


def job_view(session: Session, job_id: int) -> JobView:
    """Return one job.

    Raises:
        NoSuchJobError: there is none with this number.
    """
    found = _views(session, sa.and_(Job.id == job_id), limit=1)
    if not found:
        raise NoSuchJobError(job_id=job_id)
    return found[0]


def job_views(session: Session, fits: JobFilter, *, limit: int) -> list[JobView]:
    """Return the newest jobs that fit, newest first; after a change that is asked for, by it."""
    is_by_change = fits.changed_since is not None
    return _views(session, conditions(fits), limit=limit, is_by_change=is_by_change)


def count_jobs(session: Session, fits: JobFilter) -> int:
    """Return how many jobs fit."""
    return session.scalars(
        sa.select(sa.func.count()).select_from(Job).where(conditions(fits))
    ).one()


def conditions(fits: JobFilter) -> sa.ColumnElement[bool]:
    """Return what a job must fulfil."""
    tests: dict[str, Callable[[Any], sa.ColumnElement[bool]]] = {
        "job_ids": Job.id.in_,
        "states": Job.state.in_,
        "since": Job.received_at.__ge__,
        "until": Job.received_at.__lt__,
        "changed_since": Job.updated_at.__ge__,
        "study": lambda given: _reads(Reception.study_instance_uid == given),
        "calling_ae": lambda given: _reads(Reception.calling_ae == given),
        "release": Job.release.__eq__,
        "accession_hash": lambda given: _has_content(Reception.accession_hash == given),
        "patient_id_hash": lambda given: _has_content(Reception.patient_id_hash == given),
        "is_quarantined": lambda _: _has_content(Reception.state == ReceptionState.QUARANTINED),
    }
    given = {name: getattr(fits, name) for name in tests}
    return sa.and_(sa.true(), *(tests[name](value) for name, value in given.items() if value))


def _reads(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return whether the content that the job reads fulfils it."""
    return Job.reception_id.in_(sa.select(Reception.id).where(condition))


def _has_content(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return whether any content under the job's UID fulfils it, not only the one it reads."""
    return Job.sop_instance_uid.in_(sa.select(Reception.sop_instance_uid).where(condition))


def reception_views(session: Session, job_id: int) -> list[ReceptionView]:
    """Return every distinct content that arrived under the job's UID, oldest first.

    Raises:
        NoSuchJobError: there is none with this number.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise NoSuchJobError(job_id=job_id)
    rows = session.scalars(
        sa.select(Reception)
        .where(Reception.sop_instance_uid == job.sop_instance_uid)
        .order_by(Reception.id)
    )
    return [
        ReceptionView(
            reception_id=row.id,
            state=row.state,
            received_at=row.received_at,
            calling_ae=row.calling_ae,
            peer_address=row.peer_address,
            transfer_syntax_uid=row.transfer_syntax_uid,
            size_bytes=row.size_bytes,
            digest=row.digest,
            examined_at=row.examined_at,
            removed_at=row.removed_at,
        )
        for row in rows
    ]


def quarantined_jobs(session: Session, job_ids: Collection[int]) -> set[int]:
    """Return which of these jobs have a content that was set aside."""
    return set(
        session.scalars(
            sa.select(Job.id)
            .join(Reception, Reception.sop_instance_uid == Job.sop_instance_uid)
            .where(Job.id.in_(job_ids), Reception.state == ReceptionState.QUARANTINED)
        )
    )


def counts_by_state(session: Session) -> dict[JobState, int]:
    """Return how many jobs are in each state; a state without any is 0."""
    found = session.execute(sa.select(Job.state, sa.func.count()).group_by(Job.state)).all()
    return dict.fromkeys(JobState, 0) | {row[0]: row[1] for row in found}


def events_of(session: Session, job_id: int) -> list[JobEvent]:
    """Return the audit trail of one job, oldest first.

    Raises:
        NoSuchJobError: there is none with this number.
    """
    if session.get(Job, job_id) is None:
        raise NoSuchJobError(job_id=job_id)
    rows = session.scalars(
        sa.select(JobEventRow).where(JobEventRow.job_id == job_id).order_by(JobEventRow.id)
    )
    return [event_of(row) for row in rows]


def event_of(row: JobEventRow) -> JobEvent:
    """Return one row of the audit trail as it is shown."""
    return JobEvent(
        event_id=row.id,
        job_id=row.job_id,
        at=row.at,
        actor=row.actor,
        event=row.event,
        before=row.before,
        after=row.after,
        reason=row.reason,
        detail=json.loads(row.detail),
        previous_hash=row.previous_hash,
        hash=row.hash,
    )


def _views(
    session: Session, fits: sa.ColumnElement[bool], *, limit: int, is_by_change: bool = False
) -> list[JobView]:
    order = (Job.updated_at.desc(), Job.id.desc()) if is_by_change else (Job.id.desc(),)
    # the page first: joined as a whole, a planner may sort all the jobs there are
    page = session.scalars(sa.select(Job.id).where(fits).order_by(*order).limit(limit)).all()
    rows = session.execute(
        sa.select(Job, Reception, Result)
        .join(Reception, Reception.id == Job.reception_id)
        .outerjoin(Result, sa.and_(Result.job_id == Job.id, Result.revision == Job.revision))
        .where(Job.id.in_(page))
        .order_by(*order)
    ).all()
    found = [(job, reception, _optional(result)) for job, reception, result in rows]
    owed = _destinations(session, [result.id for *_, result in found if result is not None])
    return [
        _view(job, reception, result, owed[result.id] if result is not None else [])
        for job, reception, result in found
    ]


def _optional(result: Result | None) -> Result | None:
    """Return the far side of an outer join, which its type takes for always there."""
    return result


def _view(
    job: Job, reception: Reception, result: Result | None, owed: Sequence[DestinationView]
) -> JobView:
    return JobView(
        job_id=job.id,
        state=job.state,
        outcome=job.outcome,
        reason=job.reason,
        sop_instance_uid=job.sop_instance_uid,
        study_instance_uid=reception.study_instance_uid,
        calling_ae=reception.calling_ae,
        attempt=job.attempt,
        revision=job.revision,
        received_at=job.received_at,
        updated_at=job.updated_at,
        bone_age_months=result.bone_age_months if result else None,
        interval_months=_interval(result),
        sex=result.sex if result else None,
        sex_source=result.sex_source if result else None,
        release=result.release if result else job.release,
        destinations=tuple(owed),
        error=job.error,
        result_folder=result.result_folder if result else None,
        timings_ms=json.loads(result.timings_ms) if result else {},
        image_removed_at=reception.removed_at,
        result_removed_at=result.removed_at if result else None,
    )


def _interval(result: Result | None) -> tuple[float, float] | None:
    if result is None or result.interval_low_months is None or result.interval_high_months is None:
        return None
    return result.interval_low_months, result.interval_high_months


def _destinations(session: Session, result_ids: list[int]) -> dict[int, list[DestinationView]]:
    owed: dict[int, list[DestinationView]] = defaultdict(list)
    for row in session.scalars(
        sa.select(OutboxRow).where(OutboxRow.result_id.in_(result_ids)).order_by(OutboxRow.id)
    ):
        owed[row.result_id].append(
            DestinationView(
                kind=row.kind,
                destination=row.destination,
                state=row.state,
                attempt=row.attempt,
                status=row.status,
                error=row.error,
                sop_instance_uid=row.sop_instance_uid,
                sent_at=row.sent_at,
                confirmed_at=row.confirmed_at,
                run_after=row.run_after,
            )
        )
    return owed
