"""Do the tables of jobs and results say what the sealed trail says?"""

import json
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from schemas.audit import AuditFault, AuditProblem
from schemas.tables import Job, JobEventRow, Result
from worker.queue.fingerprints import RESULT_DIGEST, result_digest

_CHUNK = 1000  # rows in memory at once


def find_altered_results(session: Session) -> Iterator[AuditProblem]:
    """Yield each result that is not what its event says, and each job in another state."""
    yield from _check_results(session)
    yield from _check_states(session)


def _check_results(session: Session) -> Iterator[AuditProblem]:
    told: set[tuple[int | None, int | None]] = set()
    events = session.scalars(
        sa.select(JobEventRow)
        .where(JobEventRow.event == "settled")
        .order_by(JobEventRow.id)
        .execution_options(yield_per=_CHUNK)
    )
    for event in events:
        detail = json.loads(event.detail)
        told.add((event.job_id, detail.get("revision")))
        stated = detail.get(RESULT_DIGEST)
        if stated is None:  # written by a version that knew no digest
            continue
        row = session.scalars(
            sa.select(Result).where(
                Result.job_id == event.job_id, Result.revision == detail["revision"]
            )
        ).one_or_none()
        if row is not None and result_digest(row) == stated:
            continue
        what = "is not there" if row is None else "is not what was settled"
        message = f"Revision {detail['revision']} of job {event.job_id} {what}."
        yield AuditProblem(kind=AuditFault.RESULT, event_id=event.id, message=message)
    for job_id, revision in session.execute(sa.select(Result.job_id, Result.revision)):
        if (job_id, revision) not in told:
            message = f"Revision {revision} of job {job_id} stands in no event: it was put in."
            yield AuditProblem(kind=AuditFault.RESULT, event_id=None, message=message)


def _check_states(session: Session) -> Iterator[AuditProblem]:
    each = aliased(JobEventRow)
    last = (
        sa.select(sa.func.max(each.id))
        .where(each.job_id == Job.id, each.after.is_not(None))
        .correlate(Job)
        .scalar_subquery()
    )
    differing = session.execute(
        sa.select(Job.id, Job.state, JobEventRow.id.label("event_id"), JobEventRow.after)
        .join(JobEventRow, JobEventRow.id == last)
        .where(sa.cast(Job.state, sa.String) != sa.cast(JobEventRow.after, sa.String))
        .order_by(Job.id)
    )
    for row in differing:
        message = f"Job {row.id} is {row.state.value}, but its trail says {row.after.value}."
        yield AuditProblem(kind=AuditFault.RESULT, event_id=row.event_id, message=message)
