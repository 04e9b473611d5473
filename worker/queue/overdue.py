"""Jobs that stay in a stage for longer than they should: said once, in the story of the job."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from schemas.jobs import JobState, Stage
from schemas.tables import Job, JobEventRow
from worker.queue.ledger import Ledger

EVENT = "overdue"
#: events from which a job's waiting is counted; a retry does not start it anew
STARTS = ("received", "requeued")

_T = TypeVar("_T")


def _newest(what: sa.ColumnElement[_T], entered: sa.ColumnElement[bool]) -> sa.ScalarSelect[_T]:
    """Select ``what`` of the newest event with which a job entered a stage."""
    of_job = sa.and_(JobEventRow.job_id == Job.id, entered)
    return sa.select(sa.func.max(what)).where(of_job).correlate(Job).scalar_subquery()


_IS_START = JobEventRow.event.in_(STARTS)
#: when the image came, or an operator asked for it again
WAITS_SINCE = _newest(JobEventRow.at.expression, _IS_START)

#: the states of each stage, and the events that begin it
_STAGES: Mapping[Stage, tuple[tuple[JobState, ...], sa.ColumnElement[bool]]] = {
    Stage.ESTIMATE: ((JobState.QUEUED, JobState.RUNNING), _IS_START),
    Stage.DELIVER: ((JobState.DELIVERING,), JobEventRow.after == JobState.DELIVERING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueJob:
    """One job that has just been called overdue."""

    job_id: int
    stage: Stage
    waits: timedelta


def call_overdue(book: Ledger, limits: Mapping[Stage, timedelta]) -> list[OverdueJob]:
    """Write a line into the story of each job that is newly overdue; return them."""
    found = []
    for stage, limit in limits.items():
        states, entered = _STAGES[stage]
        since = _newest(JobEventRow.at.expression, entered)
        rows = book.session.execute(
            sa.select(Job.id, since.label("since"))
            .where(Job.state.in_(states), since < book.at - limit, ~_was_called(stage))
            .order_by(Job.id)
        ).all()
        for row in rows:
            job = book.job(row.id)
            if job.state not in states:
                continue
            waits = book.at - row.since
            note_overdue(book, job, stage=stage, waits=waits, limit=limit)
            found.append(OverdueJob(job_id=job.id, stage=stage, waits=waits))
    return found


def note_overdue(
    book: Ledger, job: Job, *, stage: Stage, waits: timedelta, limit: timedelta
) -> None:
    """Write that a locked job has been in ``stage`` for longer than ``limit``."""
    book.note(
        job.id,
        event=EVENT,
        reason=stage.value,
        detail={
            "state": job.state.value,
            "seconds": round(waits.total_seconds()),
            "limit_seconds": round(limit.total_seconds()),
        },
    )


def count_overdue(session: Session) -> dict[Stage, int]:
    """Return how many jobs are still in a stage in which they were called overdue."""
    return {
        stage: session.scalar(
            sa.select(sa.func.count(Job.id)).where(Job.state.in_(states), _was_called(stage))
        )
        or 0
        for stage, (states, _) in _STAGES.items()
    }


def _was_called(stage: Stage) -> sa.ColumnElement[bool]:
    _, entered = _STAGES[stage]
    begun_by = _newest(JobEventRow.id.expression, entered)
    called = aliased(JobEventRow)
    return (
        sa.exists()
        .where(
            called.job_id == Job.id,
            called.event == EVENT,
            called.reason == stage.value,
            called.id > begun_by,
        )
        .correlate(Job)
    )
