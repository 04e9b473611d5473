"""Claims on jobs: taken in one statement, and shown again by whoever wants to move the job on."""

import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from schemas.errors import LeaseLostError
from schemas.jobs import Claim, JobState, RetryPolicy
from schemas.tables import Job, Reception
from worker.queue.ledger import Ledger
from worker.queue.results import current_result, superseded_reports


def take_oldest_due(book: Ledger, *, release: str, lease: timedelta) -> Job | None:
    """Let the database decide who gets the oldest due job; return it, running, or nothing."""
    job_id = book.session.scalar(
        sa.update(Job)
        .where(Job.id == _oldest_due(book.at, release=release), Job.state == JobState.QUEUED)
        .values(
            state=JobState.RUNNING,
            release=release,
            attempt=Job.attempt + 1,
            claim_token=uuid.uuid4().hex,
            lease_ends_at=book.at + lease,
            updated_at=book.at,
        )
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    if job_id is None:
        return None
    job = book.job(job_id)
    if (fresh := book.unexamined(job.sop_instance_uid)) is not None:
        job.reception_id = fresh.id
    book.note(
        job.id,
        event="claimed",
        moved=(JobState.QUEUED, JobState.RUNNING),
        detail={"attempt": job.attempt, "release": job.release, "reception_id": job.reception_id},
    )
    return job


def _oldest_due(at: datetime, *, release: str) -> sa.ScalarSelect[int]:
    """Select one job for ``release``, or for one that is no longer served.

    A job that was not tried yet is due at once: it must not wait when the clock steps back.
    """
    candidate, other = aliased(Job), aliased(Job)
    has_own_job = sa.exists().where(
        other.sop_instance_uid == candidate.sop_instance_uid, other.release == release
    )
    return (
        sa.select(candidate.id)
        .where(
            candidate.state == JobState.QUEUED,
            sa.or_(candidate.attempt == 0, candidate.run_after <= at),
            sa.or_(candidate.release == release, ~has_own_job),
        )
        .order_by(candidate.rank_at, candidate.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=candidate)
        .scalar_subquery()
    )


def held(book: Ledger, claim: Claim) -> Job:
    """Return the claimed job, locked, to the worker that still has its token.

    Raises:
        LeaseLostError: another worker has it, or it was moved on.
    """
    job = book.session.scalars(
        sa.select(Job)
        .where(
            Job.id == claim.job_id,
            Job.state == JobState.RUNNING,
            Job.claim_token == claim.token,
        )
        .with_for_update()
    ).one_or_none()
    if job is None:
        raise LeaseLostError(what="job", row_id=claim.job_id)
    return job


def claim_of(session: Session, job: Job, *, retry: RetryPolicy) -> Claim:
    """Return what the worker of a running job needs to know.

    Raises:
        LeaseLostError: nobody has claimed it.
    """
    if job.claim_token is None or job.lease_ends_at is None:
        raise LeaseLostError(what="job", row_id=job.id)
    reception = session.get_one(Reception, job.reception_id)
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
        former_spool_file=_former_spool_file(session, job),
        predecessors=superseded_reports(session, job.id),
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
