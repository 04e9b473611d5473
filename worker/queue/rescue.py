"""Take back what the dead hold, and what a clock that was set back would hold for too long."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa

from schemas.errors import IsolatedJobError
from schemas.jobs import JobState, OutboxState, RetryPolicy
from schemas.tables import Job, OutboxRow
from worker.queue.endings import fail_job
from worker.queue.ledger import Ledger
from worker.queue.rows import locked_row, note_row, put_back

#: why a job went back although its worker said nothing
LEASE_EXPIRED = "queue.lease_expired"
#: why a job was taken from a worker that lives, but hangs
DEADLINE_PASSED = "queue.deadline_passed"
#: an image that ended two workers is not given to a third
MOST_VANISHED = 2

#: a time server corrects a clock by less between two rounds, without a step
_LARGEST_SLEW = timedelta(seconds=5)
LONGEST_LEASE = timedelta(hours=1)  # the most that the settings allow
LONGEST_WAIT = timedelta(days=1)  # the most that the settings allow


class StepWatch:
    """Notices that the clock was set forward: every lease then looks old, also of those who live.

    A machine that was suspended looks the same, and its workers live as well.
    """

    def __init__(
        self, *, now: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``now`` is the clock by which leases end."""
        self._now = now
        self._monotonic = monotonic
        self._last: tuple[datetime, float] | None = None
        self._trusts_from = 0.0  # of the monotonic clock

    def is_trusted(self, *, lease: timedelta) -> bool:
        """Say whether a lease that looks old is; after a step, whoever lives gets one to renew."""
        before, at, ticks = self._monotonic(), self._now(), self._monotonic()
        if self._last is not None:
            longest = timedelta(seconds=ticks - self._last[1])  # a slow answer is no step
            if at - self._last[0] - longest > _LARGEST_SLEW:
                self._trusts_from = ticks + lease.total_seconds()
        self._last = (at, before)
        return ticks >= self._trusts_from


def rescue_jobs(book: Ledger, *, retry: RetryPolicy) -> int:
    """Take jobs back from workers whose lease ran out; return how many."""
    lost = book.session.scalars(
        sa.select(Job)
        .where(Job.state == JobState.RUNNING, Job.lease_ends_at < book.at)
        .order_by(Job.id)
        .with_for_update(skip_locked=True)
    ).all()
    for job in lost:
        take_back(book, job, retry=retry, reason=LEASE_EXPIRED)
    return len(lost)


def take_back(book: Ledger, job: Job, *, retry: RetryPolicy, reason: str) -> None:
    """Put the job back; one that ends every worker may only be refused, and that only once."""
    job.vanished += 1
    job.run_after = book.at
    if job.is_isolated:
        error = IsolatedJobError()
        fail_job(book, job, code=error.code, message=str(error))
        return
    job.is_isolated = job.vanished >= MOST_VANISHED or retry.is_exhausted(job.attempt)
    event = "isolated" if job.is_isolated else "rescued"
    detail = {"attempt": job.attempt, "vanished": job.vanished}
    book.move(job, after=JobState.QUEUED, event=event, reason=reason, detail=detail)


def rescue_rows(book: Ledger) -> int:
    """Take objects back from deliverers whose lease ran out; return how many."""
    lost = book.session.execute(
        sa.select(OutboxRow.id, OutboxRow.job_id)
        .where(OutboxRow.state == OutboxState.SENDING, OutboxRow.lease_ends_at < book.at)
        .order_by(OutboxRow.job_id, OutboxRow.id)
    ).all()
    rescued = 0
    for row_id, job_id in lost:
        job = book.job(job_id)
        row = locked_row(book, row_id)
        if row.lease_ends_at is not None and row.lease_ends_at < book.at:
            put_back(book, row, job, run_after=book.at)
            note_row(book, row, event="send_rescued")
            rescued += 1
    return rescued


def forgive_clock(
    book: Ledger, *, retry: RetryPolicy, longest_lease: timedelta, longest_wait: timedelta
) -> None:
    """Bring back near what lies further ahead than anything may: the clock was set back.

    A worker that lives renews its lease in time all the same; one that is dead would otherwise
    hold its job for as long as the clock was set back.
    """
    far_lease, far_wait = book.at + longest_lease, book.at + longest_wait
    far_retry = book.at + retry.longest_delay
    cuts = (
        sa.update(Job)
        .where(Job.state == JobState.RUNNING, Job.lease_ends_at > far_lease)
        .values(lease_ends_at=far_lease),
        sa.update(Job)
        .where(Job.state == JobState.QUEUED, Job.run_after > far_retry)
        .values(run_after=far_retry),
        sa.update(OutboxRow)
        .where(OutboxRow.state == OutboxState.SENDING, OutboxRow.lease_ends_at > far_lease)
        .values(lease_ends_at=far_lease),
        sa.update(OutboxRow)
        .where(OutboxRow.state == OutboxState.WAITING, OutboxRow.run_after > far_wait)
        .values(run_after=far_wait),
        # an open question may wait longer; whoever was not asked yet is asked after a second
        sa.update(OutboxRow)
        .where(
            OutboxRow.state == OutboxState.SENT,
            OutboxRow.commitment_uid.is_(None),
            OutboxRow.run_after > far_wait,
        )
        .values(run_after=far_wait),
    )
    for cut in cuts:
        book.session.execute(cut.execution_options(synchronize_session=False))
