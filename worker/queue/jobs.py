"""The jobs: receive, claim, settle, and everything else that moves one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.errors import IllegalMoveError, LeaseLostError, NothingToDeliverError
from schemas.jobs import (
    Arrival,
    Claim,
    JobState,
    NewResult,
    Receipt,
    ReceptionState,
    RetryPolicy,
    Stage,
)
from schemas.refusals import IgnoreReason
from schemas.results import UUID_ROOT
from schemas.retention import ImageFingerprint
from schemas.tables import Job, Output, Reception
from worker.queue.claims import claim_of, held, held_of, take_oldest_due
from worker.queue.commitments import Commitments
from worker.queue.database import has_one_writer, reading
from worker.queue.endings import fail_job, mark_examined, settle_jobs
from worker.queue.former import former_fingerprint
from worker.queue.gathering import Gathering
from worker.queue.ledger import Detail, Ledger, ledger
from worker.queue.lookup import JobLookup
from worker.queue.overdue import OverdueJob, call_overdue, note_overdue
from worker.queue.removal import require_files
from worker.queue.rescue import (
    DEADLINE_PASSED,
    LONGEST_LEASE,
    LONGEST_WAIT,
    forgive_clock,
    rescue_jobs,
    rescue_rows,
    take_back,
)
from worker.queue.results import current_result
from worker.queue.rows import cancel_rows, owe_again

_OURS = sa.select(Output.id).where(  # asked for every image that arrives
    Output.sop_instance_uid == sa.bindparam("sop_instance_uid")
)


class JobQueue(JobLookup):
    """All that the rooms know of jobs. It holds no session, so threads may share it."""

    def __init__(
        self,
        engine: Engine,
        *,
        now: Callable[[], datetime],
        actor: str,
        release: str,
        retry: RetryPolicy,
    ) -> None:
        """``release`` names the one that reads new images; ``actor`` stands in the audit trail."""
        super().__init__(engine)
        self._now = now
        self._actor = actor
        self._release = release
        self._retry = retry
        self._gathering = Gathering(self._ledger, release=release)

    # --- what arrives

    def receive(self, arrival: Arrival) -> Receipt:
        """Write down an object that is durably in the spool; after this, Success may be said."""
        together = self._gathering
        if has_one_writer(self._engine):
            return together.receive(arrival)
        return together.receive_alone(arrival)

    def record_event(self, *, event: str, reason: str, detail: Detail) -> None:
        """Add a line to the audit trail that belongs to no job; no value from a header in it."""
        with self._ledger() as book:
            book.note(None, event=event, reason=reason, detail=detail)

    def without_reception(self, spool_files: Iterable[str]) -> list[str]:
        """Return those files of the spool that no reception names."""
        files = list(spool_files)  # before the rows are read: what came since is no orphan
        with reading(self._engine) as session:
            known = set(session.scalars(sa.select(Reception.spool_file)))
        return [each for each in files if each not in known]

    def record_access(self, job_id: int, *, event: str, reason: str) -> None:
        """Add a line to the audit trail of a job that does not move it: somebody looked.

        Raises:
            NoSuchJobError: there is none with this number.
        """
        with self._ledger() as book:
            book.note(book.job(job_id).id, event=event, reason=reason)

    def is_own_object(self, sop_instance_uid: str) -> bool:
        """Say whether we made this object ourselves; asks the database only where that can be."""
        if not sop_instance_uid.startswith(UUID_ROOT):
            return False
        with reading(self._engine) as session:
            return session.scalar(_OURS, {"sop_instance_uid": sop_instance_uid}) is not None

    @property
    def commitments(self) -> Commitments:
        """Return what is known of the proofs that destinations owe us."""
        return Commitments(self._engine, now=self._now, actor=self._actor)

    # --- a worker and its claim

    def claim(self, *, lease: timedelta) -> Claim | None:
        """Take the oldest job that is due, or nothing.

        A job that waits for a release that is no longer served is read by ours, unless there is a
        job of its own for that: an acknowledged image never waits for ever.
        """
        return next(iter(self.claim_several(lease=lease, most=1)), None)

    def claim_several(self, *, lease: timedelta, most: int) -> list[Claim]:
        """Take up to ``most`` jobs as ``claim`` does, the oldest first, each with its own token."""
        with self._ledger() as book:
            taken = take_oldest_due(book, release=self._release, lease=lease, most=most)
            return [claim_of(book.session, *each, retry=self._retry) for each in taken]

    def renew(self, claim: Claim, *, lease: timedelta) -> Claim:
        """Give a sign of life.

        Raises:
            LeaseLostError: somebody else has the job; stop working on it.
        """
        with self._ledger() as book:
            job = held(book, claim)
            job.lease_ends_at = book.at + lease
            return claim_of(book.session, job, retry=self._retry)

    def release(self, claim: Claim, *, reason: str = "clean stop") -> None:
        """Give the job back untouched; it costs no attempt."""
        with self._ledger() as book:
            job = held(book, claim)
            job.attempt -= 1
            job.run_after = book.at
            book.move(job, after=JobState.QUEUED, event="released", reason=reason)

    def take_overdue(self, claim: Claim, *, deadline: timedelta) -> None:
        """Take the job from a worker that hangs and is about to be ended; the attempt counts.

        An image that does so twice is isolated, as one that ends its workers.
        """
        with self._ledger() as book:
            job = held(book, claim)
            note_overdue(book, job, stage=Stage.ESTIMATE, waits=deadline, limit=deadline)
            take_back(book, job, retry=self._retry, reason=DEADLINE_PASSED)

    def settle(self, claim: Claim, result: NewResult) -> None:
        """Write a result whose files are durable, and what is owed to whom, in one transaction.

        Raises:
            LeaseLostError: somebody else has the job; nothing was written.
        """
        if self.settle_several([(claim, result)]):
            raise LeaseLostError(what="job", row_id=claim.job_id)

    def settle_several(self, settled: Sequence[tuple[Claim, NewResult]]) -> list[Claim]:
        """Write several results in one transaction; return the claims that somebody else has.

        Of these nothing was written; all the others are settled.
        """
        with self._ledger() as book:
            jobs = held_of(book, [claim for claim, _ in settled])
            results = [(jobs[claim.job_id], new) for claim, new in settled if claim.job_id in jobs]
            settle_jobs(book, results)
            return [claim for claim, _ in settled if claim.job_id not in jobs]

    def settle_unchanged(self, claim: Claim, *, reason: str) -> None:
        """End the examination of a content that changes nothing; nothing is sent."""
        with self._ledger() as book:
            job = held(book, claim)
            mark_examined(book, job)
            self._back_to_result(book, job, event="unchanged", reason=reason)

    def quarantine(self, claim: Claim, *, reason: str) -> None:
        """Set a content aside: the UID that we know, with other pixels. The result stands."""
        with self._ledger() as book:
            job = held(book, claim)
            mark_examined(book, job).state = ReceptionState.QUARANTINED
            self._back_to_result(book, job, event="quarantined", reason=reason)

    def settle_ignored(self, claim: Claim, *, reason: IgnoreReason) -> None:
        """End a job that no intake rule wants; nothing is sent."""
        with self._ledger() as book:
            job = held(book, claim)
            mark_examined(book, job)
            job.outcome, job.reason, job.error = None, reason.value, None
            book.move(job, after=JobState.IGNORED, event="ignored", reason=reason.value)
            book.rest(job)

    def retry(self, claim: Claim, *, code: str, message: str) -> JobState:
        """Put the job back for later, or let it fail if that was the last attempt."""
        with self._ledger() as book:
            job = held(book, claim)
            if self._retry.is_exhausted(job.attempt):
                fail_job(book, job, code=code, message=message)
                return job.state
            delay = self._retry.delay_after(job.attempt)
            job.run_after, job.error = book.at + delay, message
            detail: Detail = {
                "attempt": job.attempt,
                "delay_seconds": delay.total_seconds(),
                "error": message,
            }
            book.move(job, after=JobState.QUEUED, event="retry", reason=code, detail=detail)
            return job.state

    def fail(self, claim: Claim, *, code: str, message: str) -> None:
        """End the job until an operator, or other content, moves it on."""
        with self._ledger() as book:
            fail_job(book, held(book, claim), code=code, message=message)

    def rescue(
        self,
        *,
        longest_lease: timedelta = LONGEST_LEASE,
        longest_wait: timedelta = LONGEST_WAIT,
    ) -> int:
        """Take jobs and objects back from those whose lease ran out; return how many.

        An image that ended two workers, or one at its last attempt, is isolated: its next worker
        is told to refuse it without a look at its pixels, and if that one ends too, it fails.

        Args:
            longest_lease: no lease in use is longer; one that is was given before the clock was
                set back.
            longest_wait: no object is put off for longer; the same.
        """
        with self._ledger() as book:
            forgive_clock(
                book, retry=self._retry, longest_lease=longest_lease, longest_wait=longest_wait
            )
            rescued = rescue_jobs(book, retry=self._retry)
        with self._ledger() as book:
            return rescued + rescue_rows(book)

    def call_overdue(self, limits: Mapping[Stage, timedelta]) -> list[OverdueJob]:
        """Write a line into the story of every job that has just become overdue; return them."""
        with self._ledger() as book:
            return call_overdue(book, limits)

    # --- an operator

    def requeue(self, job_id: int, *, reason: str, deliver_only: bool = False) -> None:
        """Estimate again (a new revision), or deliver the same bytes again.

        Raises:
            NoSuchJobError, IllegalMoveError, NothingToDeliverError, RemovedByRetentionError:
                nothing was changed.
        """
        with self._ledger() as book:
            job = book.job(job_id)
            require_files(book.session, job, deliver_only=deliver_only)
            if not deliver_only:
                book.queue_again(job, event="requeued", reason=reason)
                return
            result = current_result(book.session, job)
            if result is None or not owe_again(book, result_id=result.id):
                raise NothingToDeliverError(job_id=job_id)
            job.outcome, job.reason, job.error = result.outcome, result.reason or None, None
            book.move(job, after=JobState.DELIVERING, event="requeued", reason=reason)

    def cancel(self, job_id: int, *, reason: str) -> None:
        """Stop a job that waits or is being delivered; what is on the wire now still arrives.

        Raises:
            NoSuchJobError, IllegalMoveError: nothing was changed.
        """
        with self._ledger() as book:
            job = book.job(job_id)
            was_delivering = job.state is JobState.DELIVERING
            book.move(job, after=JobState.CANCELLED, event="cancelled", reason=reason)
            if was_delivering:
                cancel_rows(book, job_id=job.id)
                book.rest(job)

    # --- to be looked at, with all of ``JobLookup``

    def former_fingerprint(self, job_id: int) -> ImageFingerprint | None:
        """Return what is kept of the image of the current result, if retention removed it."""
        with reading(self._engine) as session:
            return former_fingerprint(session, job_id)

    # --- inside

    def _ledger(self) -> AbstractContextManager[Ledger]:
        return ledger(self._engine, now=self._now, actor=self._actor)

    def _back_to_result(self, book: Ledger, job: Job, *, event: str, reason: str) -> None:
        """Leave the current result as it is, in whatever state its delivery was."""
        result = current_result(book.session, job)
        if result is None:
            raise IllegalMoveError(job_id=job.id, before=job.state, after=JobState.DELIVERED)
        detail = {"reception_id": job.reception_id}
        job.reception_id, job.release = result.reception_id, result.release
        job.outcome, job.reason, job.error = result.outcome, result.reason or None, None
        book.move(job, after=JobState.DELIVERING, event=event, reason=reason, detail=detail)
        book.conclude(job)
