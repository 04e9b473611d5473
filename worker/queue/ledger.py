"""One writing transaction, and the only way a job moves: with its line in the audit trail."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.errors import IllegalMoveError, NoSuchJobError
from schemas.jobs import MOVES, JobState, OutboxState, ReceptionState
from schemas.tables import Job, JobEventRow, OutboxRow, Reception, Result
from worker.queue.database import time_of, writing_plainly
from worker.queue.dialect import plain
from worker.queue.prepared import Prepared

Detail = Mapping[str, str | int | float | bool | None]

#: what the hash of an event holds together; beside them stands the time, in UTC
_HASHED = ("job_id", "actor", "event", "before", "after", "reason", "detail", "previous_hash")

#: a row of the outbox in one of these states may still move by itself
_IN_FLIGHT = frozenset({OutboxState.WAITING, OutboxState.SENDING, OutboxState.SENT})

# Statements of the hot path are made once: to make one takes longer than to send it.
_LAST_HASHES = sa.select(
    Job.id,
    # by the index for each job: a grouping might read all the events there are
    sa.select(JobEventRow.hash)
    .where(JobEventRow.job_id == Job.id)
    .order_by(JobEventRow.id.desc())
    .limit(1)
    .correlate(Job)
    .scalar_subquery()
    .label("hash"),
).where(Job.id.in_(sa.bindparam("job_ids", expanding=True)))
_INSERT = Prepared(lambda _: sa.insert(plain(JobEventRow)), columns=("at", *_HASHED, "hash"))
_LAST_HASH_WITHOUT_JOB = (
    sa.select(JobEventRow.hash)
    .where(JobEventRow.job_id.is_(None))
    .order_by(JobEventRow.id.desc())
    .limit(1)
)
_OLDEST_UNEXAMINED = sa.select(Reception).where(
    Reception.id.in_(
        sa.select(sa.func.min(Reception.id))
        .where(
            Reception.sop_instance_uid.in_(sa.bindparam("sop_instance_uids", expanding=True)),
            Reception.state == ReceptionState.KEPT,
            Reception.examined_at.is_(None),
        )
        .group_by(Reception.sop_instance_uid)
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line for the audit trail."""

    job_id: int | None
    event: str
    moved: tuple[JobState | None, JobState | None] = (None, None)
    reason: str = ""
    detail: Detail = field(default_factory=dict)

    @property
    def is_birth(self) -> bool:
        """Say whether it is the first line of a job's life: there is none before it."""
        before, after = self.moved
        return before is None and after is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One locked job on its way to another state, and the line that says so."""

    job: Job
    after: JobState
    event: str
    reason: str = ""
    detail: Detail = field(default_factory=dict)


class Ledger:
    """What the queue and the outbox write with; lives as long as one transaction."""

    def __init__(self, connection: sa.Connection, *, at: datetime, actor: str) -> None:
        #: what the hot path sends its plain statements by; they do not see what the session holds
        #: and has not flushed
        self.connection = connection
        self.at = at  #: the time of everything that this transaction writes
        self._actor = actor
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """Return what reads and changes rows as objects, in the same transaction.

        A new image needs none. Not a cached property: one lock serves those of all objects until
        Python 3.12.
        """
        if self._session is None:
            self._session = Session(self.connection)
        return self._session

    def flush(self) -> None:
        """Write what the session holds, if there is one."""
        if self._session is not None:
            self._session.flush()

    def close(self) -> None:
        """Let go of the session, if there is one."""
        if self._session is not None:
            self._session.close()

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
        self.move_all([Move(job=job, after=after, event=event, reason=reason, detail=detail or {})])

    def move_all(self, moves: Iterable[Move]) -> None:
        """Move different jobs, each as ``move`` does, with the same few statements for all."""
        lines = [self._moved(each) for each in moves]
        self.session.flush()
        self.write(lines)

    def _moved(self, move: Move) -> Line:
        job, before, after = move.job, move.job.state, move.after
        if after not in MOVES[before]:
            raise IllegalMoveError(job_id=job.id, before=before, after=after)
        job.state = after
        job.claim_token = None
        job.lease_ends_at = None
        job.updated_at = self.at
        return Line(
            job_id=job.id,
            event=move.event,
            moved=(before, after),
            reason=move.reason,
            detail=move.detail,
        )

    def queue_again(self, job: Job, *, event: str, reason: str) -> None:
        """Move a resting job back to the start, with all its attempts, behind those that wait."""
        job.attempt = job.vanished = 0
        job.is_isolated = False
        job.outcome = None  # the result that there is belongs to what was before
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
        return self.unexamined_of([sop_instance_uid]).get(sop_instance_uid)

    def unexamined_of(self, sop_instance_uids: Sequence[str]) -> dict[str, Reception]:
        """Return the same for each of several UIDs that has one."""
        found = self.session.scalars(_OLDEST_UNEXAMINED, {"sop_instance_uids": sop_instance_uids})
        return {each.sop_instance_uid: each for each in found}

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
        line = Line(job_id=job_id, event=event, moved=moved, reason=reason, detail=detail or {})
        self.write([line])

    def write(self, lines: Sequence[Line]) -> None:
        """Add a line for each of several locked jobs; in one statement, in their order."""
        hashes = self._last_hashes(lines)
        rows: list[dict[str, object]] = []
        for line in lines:
            row: dict[str, object] = {
                "job_id": line.job_id,
                "at": self.at,
                "actor": self._actor,
                "event": line.event,
                "before": line.moved[0],
                "after": line.moved[1],
                "reason": line.reason,
                "detail": canonical(line.detail),
                "previous_hash": hashes.get(line.job_id) or "",
            }
            row["hash"] = hashes[line.job_id] = _hash_of(row, at=self.at)
            rows.append(row)
        _INSERT.execute(self.connection, *rows)

    def lock(self, what: str) -> None:
        """Let one transaction at a time touch ``what``; SQLite's writers are alone anyhow."""
        if self.connection.dialect.name == "postgresql":
            number = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
            self.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))

    def _last_hashes(self, lines: Sequence[Line]) -> dict[int | None, str | None]:
        """Return the hash of the last line of each job that has one."""
        found: dict[int | None, str | None] = {}
        if any(line.job_id is None for line in lines):
            self.lock("events without a job")
            found[None] = self.session.scalar(_LAST_HASH_WITHOUT_JOB)
        ids = {line.job_id for line in lines if line.job_id is not None and not line.is_birth}
        if ids:
            rows = self.session.execute(_LAST_HASHES, {"job_ids": sorted(ids)})
            found |= {row.id: row.hash for row in rows}
        return found


@contextmanager
def ledger(engine: Engine, *, now: Callable[[], datetime], actor: str) -> Iterator[Ledger]:
    """Open one writing transaction."""
    with writing_plainly(engine) as connection:
        at = time_of(connection, now)
        with closing(Ledger(connection, at=at, actor=actor)) as book:
            yield book
            book.flush()


def canonical(value: Mapping[str, object]) -> str:
    """Return the one way to write ``value`` as JSON; equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def event_hash(row: JobEventRow) -> str:
    """Return the hash that holds a row and its predecessor together, hexadecimal."""
    return _hash_of({name: getattr(row, name) for name in _HASHED}, at=row.at)


def _hash_of(fields: Mapping[str, object], *, at: datetime) -> str:
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    return hashlib.sha256(canonical({**fields, "at": moment}).encode()).hexdigest()
