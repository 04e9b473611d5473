"""Remove the rows of jobs whose files are gone, and put a signed tombstone in their place.

The seals stay: they are hashes. What may be missing from the trail is what a tombstone names, and
only who has the key of the seals can write one.
"""

import hashlib
import hmac
import json
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session, aliased

from schemas.jobs import JobState
from schemas.retention import Tombstone
from schemas.tables import (
    AuditExportRow,
    CommitmentRow,
    Job,
    JobEventRow,
    OutboxRow,
    Output,
    Reception,
    Result,
    RetiredJob,
    SealRow,
    TombstoneRow,
)
from worker.queue.database import reading, time_of
from worker.queue.dialect import plain
from worker.queue.ledger import Ledger, canonical, ledger
from worker.queue.prepared import Prepared
from worker.queue.retention import ACTOR, in_words

_BATCH = 200  # jobs in one transaction, with one tombstone
_EVENT_BATCH = 2000  # events without a job
_RETIRED = plain(RetiredJob).c
_LAST_REVISION = Prepared(  # asked for every image that arrives
    lambda _: sa.select(_RETIRED.revision).where(
        _RETIRED.sop_instance_hash == sa.bindparam("sop_instance_hash")
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRecords:
    """Rows that may go."""

    job_ids: tuple[int, ...]
    loose_ids: tuple[int, ...]  #: of events without a job
    event_ids: tuple[int, ...]  #: of all events, those of the jobs among them

    def events(self) -> sa.ColumnElement[bool]:
        """Return what the events fulfil, in words that are short however many they are."""
        return sa.or_(JobEventRow.job_id.in_(self.job_ids), JobEventRow.id.in_(self.loose_ids))


class RecordRetention:
    """Removes rows by policy; rows that are not sealed, or not handed on yet, wait."""

    def __init__(
        self,
        engine: Engine,
        *,
        period: timedelta | None,
        is_exported: bool,
        now: Callable[[], datetime],
        actor: str = ACTOR,
    ) -> None:
        """``is_exported``: an audit repository gets every event, and must have it before."""
        self._engine = engine
        self._period = period
        self._is_exported = is_exported
        self._now = now
        self._actor = actor

    def due(self) -> tuple[int, int]:
        """Return how many jobs and how many events would go now; changes nothing."""
        if self._period is None:
            return 0, 0
        with reading(self._engine) as session:
            before = time_of(session, self._now) - self._period
            jobs = session.scalar(
                sa.select(sa.func.count()).select_from(self._jobs(session, before).subquery())
            )
            of_jobs = session.scalar(
                sa.select(sa.func.count())
                .select_from(JobEventRow)
                .where(JobEventRow.job_id.in_(self._jobs(session, before)))
            )
            loose = session.scalar(
                sa.select(sa.func.count()).select_from(self._loose(session, before).subquery())
            )
        return jobs or 0, (of_jobs or 0) + (loose or 0)

    def remove(self, *, key: bytes) -> tuple[int, int]:
        """Remove what is due, in batches, each with its tombstone; return how many jobs, events."""
        jobs = events = 0
        while (gone := self._remove_batch(key=key)) is not None:
            jobs += len(gone.job_ids)
            events += len(gone.event_ids)
        return jobs, events

    def _remove_batch(self, *, key: bytes) -> DueRecords | None:
        if self._period is None:
            return None
        with ledger(self._engine, now=self._now, actor=self._actor) as book:
            book.lock("events without a job")
            due = self._due(book.session, book.at - self._period)
            if not due.event_ids:
                return None
            tombstone = _bury(book, due, policy=in_words("records", self._period), key=key)
            _delete(book.session, due)
            book.note(
                None,
                event="records_removed",
                reason=tombstone.policy,
                detail={
                    "tombstone": tombstone.id,
                    "events": tombstone.event_count,
                    "jobs": tombstone.job_count,
                    "signature": tombstone.signature,
                },
            )
            return due

    def _due(self, session: Session, before: datetime) -> DueRecords:
        job_ids = session.scalars(self._jobs(session, before).limit(_BATCH)).all()
        loose_ids = session.scalars(self._loose(session, before).limit(_EVENT_BATCH)).all()
        due = DueRecords(job_ids=tuple(job_ids), loose_ids=tuple(loose_ids), event_ids=())
        events = session.scalars(
            sa.select(JobEventRow.id).where(due.events()).order_by(JobEventRow.id)
        )
        return replace(due, event_ids=tuple(events))

    def _jobs(self, session: Session, before: datetime) -> sa.Select[int]:
        """Select the jobs at rest whose files are gone and whose whole trail is safe."""
        other = aliased(Job)
        under_its_uid = Reception.sop_instance_uid == Job.sop_instance_uid
        has_file = sa.or_(
            sa.exists().where(under_its_uid, Reception.removed_at.is_(None)),
            sa.exists().where(Result.job_id == Job.id, Result.removed_at.is_(None)),
        )
        others_stay = sa.exists().where(
            other.sop_instance_uid == Job.sop_instance_uid, other.id != Job.id
        )
        is_young = sa.exists().where(
            JobEventRow.job_id == Job.id,
            sa.or_(JobEventRow.at > before, JobEventRow.id > self._safe_until(session)),
        )
        return (
            sa.select(Job.id)
            .where(
                Job.state.in_((JobState.DELIVERED, JobState.IGNORED)),
                Job.updated_at <= before,
                ~has_file,
                ~others_stay,
                ~is_young,
            )
            .order_by(Job.id)
        )

    def _loose(self, session: Session, before: datetime) -> sa.Select[int]:
        """Select old events without a job; the newest sealed one stays, for the chain goes on."""
        without_job = JobEventRow.job_id.is_(None)
        safe = JobEventRow.id <= self._safe_until(session)
        newest = session.scalar(sa.select(sa.func.max(JobEventRow.id)).where(without_job, safe))
        return (
            sa.select(JobEventRow.id)
            .where(without_job, safe, JobEventRow.at <= before, JobEventRow.id != (newest or 0))
            .order_by(JobEventRow.id)
        )

    def _safe_until(self, session: Session) -> int:
        """Return the last event that is sealed, and handed on where that is asked for."""
        query = sa.select(sa.func.max(SealRow.event_id))
        if self._is_exported:
            handed_on = sa.select(sa.func.min(AuditExportRow.position)).scalar_subquery()
            query = query.where(SealRow.position <= sa.func.coalesce(handed_on, 0))
        return session.scalar(query) or 0


class RemovedEvents:
    """The numbers of all events that tombstones name."""

    def __init__(self, stones: Iterable[Tombstone]) -> None:
        self._ranges = sorted(each for stone in stones for each in stone.ranges)

    def holds(self, event_id: int) -> bool:
        """Say whether retention removed this event."""
        at = bisect_right(self._ranges, (event_id, sys.maxsize)) - 1
        return at >= 0 and event_id <= self._ranges[at][1]


def tombstones(session: Session) -> list[Tombstone]:
    """Return every tombstone, oldest first."""
    return [
        _stated(row) for row in session.scalars(sa.select(TombstoneRow).order_by(TombstoneRow.id))
    ]


def is_signed(stone: Tombstone, *, key: bytes) -> bool:
    """Say whether who had the key wrote this tombstone, as it is."""
    return hmac.compare_digest(stone.signature, _signature(stone, key=key))


def digest_of(hashes: Iterable[str]) -> str:
    """Return the digest of the hashes of removed events, in the order of their numbers."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def retired_revision(connection: sa.Connection, sop_instance_uid: str) -> int:
    """Return the last revision of a job whose rows were removed; 0: there was none."""
    asked = {"sop_instance_hash": _hash(sop_instance_uid)}
    return _LAST_REVISION.execute(connection, asked).scalar() or 0


def _bury(book: Ledger, due: DueRecords, *, policy: str, key: bytes) -> TombstoneRow:
    hashes = book.session.scalars(
        sa.select(JobEventRow.hash).where(due.events()).order_by(JobEventRow.id)
    ).all()
    row = TombstoneRow(
        removed_at=book.at,
        policy=policy,
        ranges=json.dumps(list(_ranges(due.event_ids))),
        event_count=len(due.event_ids),
        job_count=len(due.job_ids),
        digest=digest_of(hashes),
        signature="",
    )
    book.session.add(row)
    book.session.flush()
    row.signature = _signature(_stated(row), key=key)
    for job in book.session.scalars(sa.select(Job).where(Job.id.in_(due.job_ids))):
        book.session.merge(
            RetiredJob(sop_instance_hash=_hash(job.sop_instance_uid), revision=job.revision)
        )
    book.session.flush()
    return row


def _delete(session: Session, due: DueRecords) -> None:
    """Delete the rows, those that point before those that are pointed at."""
    jobs = due.job_ids
    uids = session.scalars(sa.select(Job.sop_instance_uid).where(Job.id.in_(jobs))).all()
    rows = sa.select(OutboxRow.id).where(OutboxRow.job_id.in_(jobs))
    results = sa.select(Result.id).where(Result.job_id.in_(jobs))
    for statement in (
        sa.delete(CommitmentRow).where(CommitmentRow.outbox_id.in_(rows)),
        sa.delete(OutboxRow).where(OutboxRow.job_id.in_(jobs)),
        sa.delete(Output).where(Output.result_id.in_(results)),
        sa.delete(Result).where(Result.job_id.in_(jobs)),
        sa.delete(JobEventRow).where(due.events()),
        sa.delete(Job).where(Job.id.in_(jobs)),
        sa.delete(Reception).where(Reception.sop_instance_uid.in_(uids)),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of numbers that follow one another."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last


def _stated(row: TombstoneRow) -> Tombstone:
    return Tombstone(
        tombstone_id=row.id,
        removed_at=row.removed_at.astimezone(UTC).isoformat(timespec="microseconds"),
        policy=row.policy,
        ranges=tuple((first, last) for first, last in json.loads(row.ranges)),
        event_count=row.event_count,
        job_count=row.job_count,
        digest=row.digest,
        signature=row.signature,
    )


def _signature(stone: Tombstone, *, key: bytes) -> str:
    fields = {name: value for name, value in asdict(stone).items() if name != "signature"}
    return hmac.new(key, canonical(fields).encode(), hashlib.sha256).hexdigest()


def _hash(sop_instance_uid: str) -> str:
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()
