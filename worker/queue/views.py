"""What comes out of the tables to be looked at: frozen, complete, without a session."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.errors import NoSuchJobError
from schemas.jobs import DestinationView, JobEvent, JobState, JobView
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


def job_views(
    session: Session,
    *,
    states: Collection[JobState],
    since: datetime | None,
    study: str | None,
    calling_ae: str | None,
    limit: int,
) -> list[JobView]:
    """Return the newest jobs that fit every filter given, newest first."""
    fits: list[sa.ColumnElement[bool]] = [sa.true()]
    if states:
        fits.append(Job.state.in_(states))
    if since is not None:
        fits.append(Job.received_at >= since)
    if study is not None:
        fits.append(Reception.study_instance_uid == study)
    if calling_ae is not None:
        fits.append(Reception.calling_ae == calling_ae)
    return _views(session, sa.and_(*fits), limit=limit)


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


def _views(session: Session, fits: sa.ColumnElement[bool], *, limit: int) -> list[JobView]:
    rows = session.execute(
        sa.select(Job, Reception, Result)
        .join(Reception, Reception.id == Job.reception_id)
        .outerjoin(Result, sa.and_(Result.job_id == Job.id, Result.revision == Job.revision))
        .where(fits)
        .order_by(Job.id.desc())
        .limit(limit)
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
