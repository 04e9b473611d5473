"""The audit trail as a whole: seal it, so that nobody can change it unseen, and list it.

Every event carries the hash of the one before it of its job: that shows a slip. Who can write to
the database can reckon these anew; the seals cannot be, for their key is not in the database. The
head of the sealed chain stands in the anchor file, so that the end cannot be cut off either.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.audit import AuditProblem, Seal, WrittenFile
from schemas.errors import AuditBrokenError, NoSuchEventError
from schemas.inquiries import AuditSubject, EventFilter, SealedEvent
from schemas.jobs import JobEvent
from schemas.retention import Tombstone
from schemas.tables import AuditExportRow, Job, JobEventRow, Reception, SealRow
from worker.queue.anchor import read_anchor, write_anchor
from worker.queue.database import reading, writing
from worker.queue.ledger import Ledger, ledger
from worker.queue.tombstones import tombstones
from worker.queue.verification import find_problems, seal_of
from worker.queue.views import event_of
from worker.queue.written_files import written_files

_CHUNK = 1000  # rows in memory at once


class AuditTrail:
    """The trail of all jobs, and of what belongs to none."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now

    def seal(self, key: bytes, anchor: Path) -> int:
        """Seal every event that is not sealed yet, then write the head to ``anchor``.

        Returns:
            How many were sealed. With none, the anchor still says that all is sealed until now.

        Raises:
            AuditBrokenError: the trail no longer reaches the head that the anchor names; sealing
                would cover that up.
            AuditAnchorError: the anchor is damaged, or another key sealed it.
            OSError: the anchor cannot be read or written.
        """
        stated = read_anchor(anchor, key=key)
        with ledger(self._engine, now=self._now, actor="audit") as book:
            _lock_events(book)
            head = _head(book.session)
            before = 0 if head is None else head.position
            if stated is not None:
                _require_reached(book.session, stated)
            elif head is not None:
                book.note(None, event="anchor_made", reason="there was no anchor file")
            sealed = _extend(book, head, key=key)
        if sealed is not None:
            write_anchor(anchor, sealed, key=key)
        return 0 if sealed is None else sealed.position - before

    def verify(self, key: bytes, anchor: Path) -> tuple[AuditProblem, ...]:
        """Return everything that is wrong with the trail, in its order; empty: it is whole."""
        with reading(self._engine) as session:
            return tuple(find_problems(session, key=key, anchor=anchor))

    def last_seal(self, key: bytes, anchor: Path) -> Seal | None:
        """Return up to where, and when last, the trail was sealed; nothing if it never was.

        Raises:
            AuditAnchorError: the anchor is damaged, or another key sealed it.
        """
        return read_anchor(anchor, key=key)

    def written_files(self) -> tuple[WrittenFile, ...]:
        """Return each file of a result that should be there, in the order of their events."""
        with reading(self._engine) as session:
            once = {(one.path, one.sha256): one for one in written_files(session)}
        return tuple(once.values())

    def removals(self) -> tuple[Tombstone, ...]:
        """Return what retention removed from the tables, oldest first."""
        with reading(self._engine) as session:
            return tuple(tombstones(session))

    def list(self, fits: EventFilter = EventFilter(), *, limit: int = 200) -> tuple[JobEvent, ...]:  # noqa: B008 - frozen
        """Return the newest events that fit, oldest first."""
        query = _events(fits).order_by(JobEventRow.id.desc()).limit(limit)
        with reading(self._engine) as session:
            newest = [event_of(row) for row in session.scalars(query)]
        return tuple(reversed(newest))

    def all(self, fits: EventFilter) -> Iterator[tuple[JobEvent, AuditSubject | None]]:
        """Yield every event that fits, oldest first, with what its job is about."""
        with reading(self._engine) as session:
            rows = session.scalars(
                _events(fits).order_by(JobEventRow.id).execution_options(yield_per=_CHUNK)
            )
            for row in rows:
                yield event_of(row), _subject(session, row.job_id)

    def event(self, event_id: int) -> tuple[JobEvent, AuditSubject | None, SealedEvent | None]:
        """Return one event, what its job is about, and its seal, if it has one by now.

        Raises:
            NoSuchEventError: there is none with this number.
        """
        with reading(self._engine) as session:
            row = session.get(JobEventRow, event_id)
            if row is None:
                raise NoSuchEventError(event_id=event_id)
            seal = session.scalars(
                sa.select(SealRow).where(SealRow.event_id == event_id)
            ).one_or_none()
            found, subject = event_of(row), _subject(session, row.job_id)
            return found, subject, None if seal is None else _sealed(seal, found, subject)

    def sealed_after(self, position: int, *, limit: int) -> tuple[tuple[SealedEvent, ...], int]:
        """Return the next sealed events, and the position up to which was looked."""
        with reading(self._engine) as session:
            rows = session.execute(
                sa.select(SealRow, JobEventRow)
                .outerjoin(JobEventRow, JobEventRow.id == SealRow.event_id)
                .where(SealRow.position > position)
                .order_by(SealRow.position)
                .limit(limit)
            ).all()
            found = tuple(
                _sealed(seal, event_of(row), _subject(session, row.job_id))
                for seal, row in ((pair[0], _optional(pair[1])) for pair in rows)
                if row is not None  # retention has removed it
            )
            return found, rows[-1][0].position if rows else position

    def exported_position(self, name: str) -> int:
        """Return up to which seal the trail was handed on to ``name``."""
        with reading(self._engine) as session:
            row = session.get(AuditExportRow, name)
            return 0 if row is None else row.position

    def mark_exported(self, name: str, *, position: int) -> None:
        """Write down up to which seal the trail was handed on."""
        with writing(self._engine) as session:
            session.merge(AuditExportRow(name=name, position=position))


def _events(fits: EventFilter) -> sa.Select[JobEventRow]:
    query = sa.select(JobEventRow)
    if fits.since is not None:
        query = query.where(JobEventRow.at >= fits.since)
    if fits.until is not None:
        query = query.where(JobEventRow.at < fits.until)
    if fits.job_id is not None:
        query = query.where(JobEventRow.job_id == fits.job_id)
    if fits.event is not None:
        query = query.where(JobEventRow.event == fits.event)
    if fits.actor is not None:
        query = query.where(JobEventRow.actor == fits.actor)
    return query


def _optional(row: JobEventRow) -> JobEventRow | None:
    """Return the far side of an outer join, which its type takes for always there."""
    return row


def _sealed(seal: SealRow, event: JobEvent, subject: AuditSubject | None) -> SealedEvent:
    return SealedEvent(
        position=seal.position, sealed_at=seal.sealed_at, event=event, subject=subject
    )


def _subject(session: Session, job_id: int | None) -> AuditSubject | None:
    job = None if job_id is None else session.get(Job, job_id)
    if job is None:
        return None
    image = session.get_one(Reception, job.reception_id)
    return AuditSubject(
        sop_instance_uid=image.sop_instance_uid,
        sop_class_uid=image.sop_class_uid,
        study_instance_uid=image.study_instance_uid,
        calling_ae=image.calling_ae,
        peer_address=image.peer_address,
        patient_id_hash=image.patient_id_hash,
    )


def _lock_events(book: Ledger) -> None:
    """Wait until nobody is writing an event, and let nobody begin until we are done.

    Numbers are given before they are committed: without this, an event could appear behind the
    sealed head. SQLite has one writer at a time anyhow.
    """
    book.lock("events without a job")  # first, as everybody who writes such an event does
    if book.session.get_bind().dialect.name == "postgresql":
        book.session.execute(sa.text("LOCK TABLE job_events IN SHARE ROW EXCLUSIVE MODE"))


def _head(session: Session) -> SealRow | None:
    return session.scalars(sa.select(SealRow).order_by(SealRow.position.desc()).limit(1)).first()


def _require_reached(session: Session, stated: Seal) -> None:
    found = session.get(SealRow, stated.position)
    if found is None or found.seal != stated.seal:
        raise AuditBrokenError(position=stated.position)


def _extend(book: Ledger, head: SealRow | None, *, key: bytes) -> Seal | None:
    """Add a seal for every event after ``head`` and return the new head, if there is any."""
    for event_id, event_hash in _events_after(book.session, head):
        row = SealRow(
            position=1 if head is None else head.position + 1,
            event_id=event_id,
            event_hash=event_hash,
            previous_seal="" if head is None else head.seal,
            sealed_at=book.at,
        )
        row.seal = seal_of(row, key=key)
        book.session.add(row)
        head = row
    if head is None:
        return None
    return Seal(position=head.position, event_id=head.event_id, seal=head.seal, sealed_at=book.at)


def _events_after(session: Session, head: SealRow | None) -> list[tuple[int, str]]:
    rows = session.execute(
        sa.select(JobEventRow.id, JobEventRow.hash)
        .where(JobEventRow.id > (0 if head is None else head.event_id))
        .order_by(JobEventRow.id)
    )
    return [(row.id, row.hash) for row in rows]
