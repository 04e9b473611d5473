"""Claims on jobs: taken in one statement, and shown again by whoever wants to move the job on."""

from collections.abc import Collection
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from schemas.errors import LeaseLostError
from schemas.jobs import Claim, JobState, RetryPolicy
from schemas.tables import Job, Reception, UtcDateTime
from worker.queue.dialect import FreshToken
from worker.queue.ledger import Ledger, Line
from worker.queue.results import current_result, superseded_reports

_CANDIDATE, _OTHER = aliased(Job), aliased(Job)
_RELEASE = sa.bindparam("for_release", type_=sa.String)
_AT = sa.bindparam("now", type_=UtcDateTime)
#: The oldest due jobs for a release, or for one that is no longer served. One that was not tried
#: yet is due at once: it must not wait when the clock steps back. A table of its own, because a
#: subquery with a lock and a limit may be run, and lock, more than once.
_DUE = (
    sa.select(_CANDIDATE.id)
    .where(
        _CANDIDATE.state == JobState.QUEUED,
        sa.or_(_CANDIDATE.attempt == 0, _CANDIDATE.run_after <= _AT),
        sa.or_(
            _CANDIDATE.release == _RELEASE,
            ~sa.exists().where(
                _OTHER.sop_instance_uid == _CANDIDATE.sop_instance_uid, _OTHER.release == _RELEASE
            ),
        ),
    )
    .order_by(_CANDIDATE.rank_at, _CANDIDATE.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True, of=_CANDIDATE)
    .cte("due")
)
_TAKE = (
    sa.update(Job)
    .where(Job.id.in_(sa.select(_DUE.c.id)), Job.state == JobState.QUEUED)
    .values(
        state=JobState.RUNNING,
        release=_RELEASE,
        attempt=Job.attempt + 1,
        claim_token=FreshToken(),
        lease_ends_at=sa.bindparam("until", type_=UtcDateTime),
        updated_at=_AT,
    )
    .returning(Job)
    .execution_options(synchronize_session=False)
)
_HELD = (
    sa.select(Job)
    .where(
        Job.id.in_(sa.bindparam("job_ids", expanding=True)),
        Job.state == JobState.RUNNING,
        Job.claim_token.in_(sa.bindparam("tokens", expanding=True)),
    )
    .order_by(Job.id)  # whoever locks several does so in this order
    .with_for_update()
)


def take_oldest_due(
    book: Ledger, *, release: str, lease: timedelta, most: int
) -> list[tuple[Job, Reception]]:
    """Let the database decide who gets the oldest due jobs.

    Returns:
        The jobs, running, each with the content that is to be read; the oldest first.
    """
    taken = book.session.scalars(
        _TAKE,
        {"for_release": release, "now": book.at, "until": book.at + lease, "most": most},
    ).all()
    if not taken:
        return []
    jobs = sorted(taken, key=lambda job: (job.rank_at, job.id))
    fresh = book.unexamined_of([job.sop_instance_uid for job in jobs])
    for job in jobs:
        if job.sop_instance_uid in fresh:
            job.reception_id = fresh[job.sop_instance_uid].id
    book.session.flush()
    book.write([_claimed(job) for job in jobs])
    return [(job, fresh.get(job.sop_instance_uid) or _read_last(book.session, job)) for job in jobs]


def _claimed(job: Job) -> Line:
    return Line(
        job_id=job.id,
        event="claimed",
        moved=(JobState.QUEUED, JobState.RUNNING),
        detail={"attempt": job.attempt, "release": job.release, "reception_id": job.reception_id},
    )


def held(book: Ledger, claim: Claim) -> Job:
    """Return the claimed job, locked, to the worker that still has its token.

    Raises:
        LeaseLostError: another worker has it, or it was moved on.
    """
    job = held_of(book, [claim]).get(claim.job_id)
    if job is None:
        raise LeaseLostError(what="job", row_id=claim.job_id)
    return job


def held_of(book: Ledger, claims: Collection[Claim]) -> dict[int, Job]:
    """Return those of the claimed jobs, locked, whose workers still have their tokens."""
    found = book.session.scalars(
        _HELD,
        {
            "job_ids": [claim.job_id for claim in claims],
            "tokens": [claim.token for claim in claims],
        },
    )
    return {job.id: job for job in found}


def _read_last(session: Session, job: Job) -> Reception:
    return session.get_one(Reception, job.reception_id)


def claim_of(
    session: Session, job: Job, reception: Reception | None = None, *, retry: RetryPolicy
) -> Claim:
    """Return what the worker of a running job, which reads ``reception``, needs to know.

    Raises:
        LeaseLostError: nobody has claimed it.
    """
    if job.claim_token is None or job.lease_ends_at is None:
        raise LeaseLostError(what="job", row_id=job.id)
    reception = reception or _read_last(session, job)
    return Claim(
        job_id=job.id,
        token=job.claim_token,
        attempt=job.attempt,
        lease_ends_at=job.lease_ends_at,
        sop_instance_uid=job.sop_instance_uid,
        study_instance_uid=reception.study_instance_uid,
        calling_ae=reception.calling_ae,
        release=job.release,
        revision=job.revision + 1,
        reception_id=reception.id,
        spool_file=reception.spool_file,
        # without a revision there is no result yet, as for nearly every job that is claimed
        former_spool_file=_former_spool_file(session, job) if job.revision else None,
        predecessors=superseded_reports(session, job.id) if job.revision else (),
        is_last_attempt=job.is_isolated or retry.is_exhausted(job.attempt),
        received_at=reception.received_at,
        is_refusal_only=job.is_isolated,
    )


def _former_spool_file(session: Session, job: Job) -> str | None:
    """Return the file of the current result, if it was made from another content."""
    result = current_result(session, job)
    if result is None or result.reception_id == job.reception_id:
        return None
    return session.get_one(Reception, result.reception_id).spool_file
