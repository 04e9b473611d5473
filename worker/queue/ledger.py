"""One writing transaction, and the only way a job moves: with its line in the audit trail."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.errors import IllegalMoveError, NoSuchJobError
from schemas.jobs import MOVES, JobState, OutboxState, ReceptionState
from schemas.tables import Job, JobEventRow, OutboxRow, Reception, Result
from worker.queue.database import time_of, writing

Detail = Mapping[str, str | int | float | bool | None]

#: a row of the outbox in one of these states may still move by itself
_IN_FLIGHT = frozenset({OutboxState.WAITING, OutboxState.SENDING, OutboxState.SENT})


class Ledger:
    """What the queue and the outbox write with; lives as long as one transaction."""

    def __init__(self, session: Session, *, at: datetime, actor: str) -> None:
        self.session = session
        self.at = at  #: the time of everything that this transaction writes
        self._actor = actor

    def job(self, job_id: int) -> Job:
        """Return the job, locked until the transaction ends.

        Raises:
            NoSuchJobError: there is none.
        """
        job = self.session.get(Job, job_id, with_for_update=True, populate_existing=True)
        if job is None:
            raise NoSuchJobError(job_id=job_id)
        return job

    def move(
        self,
        job: Job,
        *,
        after: JobState,
        event: str,
        reason: str = "",
        detail: Detail | None = None,
    ) -> None:
        """Move a locked job to ``after`` and write the line that says so.

        Raises:
            IllegalMoveError: a job's life has no such move.
        """
        before = job.state
        if after not in MOVES[before]:
            raise IllegalMoveError(job_id=job.id, before=before, after=after)
        job.state = after
        job.claim_token = None
        job.lease_ends_at = None
        job.updated_at = self.at
        self.session.flush()
        self.note(job.id, event=event, moved=(before, after), reason=reason, detail=detail)

    def queue_again(self, job: Job, *, event: str, reason: str) -> None:
        """Move a resting job back to the start, with all its attempts, behind those that wait."""
        job.attempt = job.vanished = 0
        job.is_isolated = False
        job.run_after = job.rank_at = self.at
        self.move(job, after=JobState.QUEUED, event=event, reason=reason)

    def rest(self, job: Job) -> None:
        """Queue a job that came to rest again, if a newer content waits to be examined."""
        if self.unexamined(job.sop_instance_uid) is not None:
            self.queue_again(job, event="requeued", reason="newer content has arrived")

    def conclude(self, job: Job) -> None:
        """Move a delivering job on once no object of its current revision can still move."""
        if job.state is not JobState.DELIVERING:
            return
        states = set(
            self.session.scalars(
                sa.select(OutboxRow.state)
                .join(Result, Result.id == OutboxRow.result_id)
                .where(Result.job_id == job.id, Result.revision == job.revision)
            )
        )
        if states & _IN_FLIGHT:
            return
        if OutboxState.FAILED in states:
            self.move(job, after=JobState.FAILED, event="failed", reason="an object was not taken")
        elif OutboxState.CANCELLED in states:
            self.move(job, after=JobState.CANCELLED, event="cancelled", reason="as it was before")
        else:
            self.move(job, after=JobState.DELIVERED, event="delivered")
        self.rest(job)

    def unexamined(self, sop_instance_uid: str) -> Reception | None:
        """Return the oldest kept content under this UID that nobody has looked at yet."""
        return self.session.scalars(
            sa.select(Reception)
            .where(
                Reception.sop_instance_uid == sop_instance_uid,
                Reception.state == ReceptionState.KEPT,
                Reception.examined_at.is_(None),
            )
            .order_by(Reception.id)
            .limit(1)
        ).one_or_none()

    def note(
        self,
        job_id: int | None,
        *,
        event: str,
        moved: tuple[JobState | None, JobState | None] = (None, None),
        reason: str = "",
        detail: Detail | None = None,
    ) -> None:
        """Add one line to the audit trail; the job must be locked, so that its chain is one."""
        if job_id is None:
            self.lock("events without a job")
        row = JobEventRow(
            job_id=job_id,
            at=self.at,
            actor=self._actor,
            event=event,
            before=moved[0],
            after=moved[1],
            reason=reason,
            detail=canonical(detail or {}),
            previous_hash=self._last_hash(job_id),
        )
        row.hash = event_hash(row)
        self.session.add(row)
        self.session.flush()

    def lock(self, what: str) -> None:
        """Let one transaction at a time touch ``what``; SQLite's writers are alone anyhow."""
        if self.session.get_bind().dialect.name == "postgresql":
            number = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
            self.session.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))

    def _last_hash(self, job_id: int | None) -> str:
        of_job = JobEventRow.job_id.is_(None) if job_id is None else JobEventRow.job_id == job_id
        last = sa.select(JobEventRow.hash).where(of_job).order_by(JobEventRow.id.desc()).limit(1)
        return self.session.scalar(last) or ""


@contextmanager
def ledger(engine: Engine, *, now: Callable[[], datetime], actor: str) -> Iterator[Ledger]:
    """Open one writing transaction."""
    with writing(engine) as session:
        yield Ledger(session, at=time_of(session, now), actor=actor)


def canonical(value: Mapping[str, object]) -> str:
    """Return the one way to write ``value`` as JSON; equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def event_hash(row: JobEventRow) -> str:
    """Return the hash that holds a row and its predecessor together, hexadecimal."""
    fields = {
        "job_id": row.job_id,
        "at": row.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": row.actor,
        "event": row.event,
        "before": row.before,
        "after": row.after,
        "reason": row.reason,
        "detail": row.detail,
        "previous_hash": row.previous_hash,
    }
    return hashlib.sha256(canonical(fields).encode()).hexdigest()
