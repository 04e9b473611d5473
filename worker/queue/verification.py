"""Is the audit trail what it was when it was sealed? Finds what is wrong, and names it."""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.audit import AuditFault, AuditProblem, Seal
from schemas.errors import AuditAnchorError
from schemas.retention import Tombstone
from schemas.tables import JobEventRow, SealRow
from worker.queue.altered import find_altered_results
from worker.queue.anchor import read_anchor
from worker.queue.ledger import canonical, event_hash
from worker.queue.tombstones import RemovedEvents, digest_of, is_signed, tombstones

_CHUNK = 1000  # rows in memory at once


def seal_of(row: SealRow, *, key: bytes) -> str:
    """Return the seal that ``row`` must carry, hexadecimal."""
    fields = {
        "position": row.position,
        "event_id": row.event_id,
        "event_hash": row.event_hash,
        "previous_seal": row.previous_seal,
    }
    return hmac.new(key, canonical(fields).encode(), hashlib.sha256).hexdigest()


def find_problems(session: Session, *, key: bytes, anchor: Path) -> Iterator[AuditProblem]:
    """Yield everything that is wrong, the whole first, then row by row."""
    of_anchor = list(_compare_anchor(session, key=key, anchor=anchor))
    yield from of_anchor
    if any(problem.kind is AuditFault.ANCHOR for problem in of_anchor) and _is_foreign(
        session, key=key
    ):
        return  # it is the key that is wrong: a line for every row would only hide that
    of_trail = list(_check_trail(session, key=key))
    yield from of_trail
    is_cut = any(problem.kind is AuditFault.CUT_OFF for problem in of_anchor)
    if (
        not of_trail and not is_cut
    ):  # a trail that is not whole proves nothing about the other tables
        yield from find_altered_results(session)


def _check_trail(session: Session, *, key: bytes) -> Iterator[AuditProblem]:
    removed, forged = _removed(session, key=key)
    yield from forged
    yield from _check_seals(session, removed, key=key)
    yield from _check_unsealed(session)


def _removed(session: Session, *, key: bytes) -> tuple[RemovedEvents, list[AuditProblem]]:
    """Return which events retention removed, and the tombstones that nobody may believe."""
    believed, problems = [], []
    for stone in tombstones(session):
        if is_signed(stone, key=key) and _is_complete(session, stone):
            believed.append(stone)
            continue
        message = (
            f"Tombstone {stone.tombstone_id} ({stone.policy}) was changed, or made with another "
            "key: what it names counts as missing."
        )
        first = stone.ranges[0][0] if stone.ranges else None
        problems.append(AuditProblem(kind=AuditFault.TOMBSTONE, event_id=first, message=message))
    return RemovedEvents(believed), problems


def _is_complete(session: Session, stone: Tombstone) -> bool:
    """Say whether the seals hold exactly the events that the tombstone names."""
    hashes: list[str] = []
    for first, last in stone.ranges:
        hashes += session.scalars(
            sa.select(SealRow.event_hash)
            .where(SealRow.event_id.between(first, last))
            .order_by(SealRow.event_id)
        )
    return stone.digest == digest_of(hashes)


def _compare_anchor(session: Session, *, key: bytes, anchor: Path) -> Iterator[AuditProblem]:
    try:
        stated = read_anchor(anchor, key=key)
    except AuditAnchorError as error:
        yield AuditProblem(kind=AuditFault.ANCHOR, event_id=None, message=str(error))
        return
    last = session.scalar(sa.select(sa.func.max(SealRow.position))) or 0
    if stated is None:
        if last:
            yield AuditProblem(
                kind=AuditFault.NO_ANCHOR,
                event_id=None,
                message="There is no anchor file, so nobody can say whether the end of the trail "
                "was cut off. Put it back from its copy.",
            )
        return
    if last < stated.position:
        yield _cut_off(session, stated)
        return
    found = session.get(SealRow, stated.position)
    if found is not None and found.seal != stated.seal:
        yield AuditProblem(
            kind=AuditFault.SEAL,
            event_id=stated.event_id,
            message=f"The seal of event {stated.event_id} is not the one that the anchor names.",
        )


def _is_foreign(session: Session, *, key: bytes) -> bool:
    """Say whether not even the first seal was made with this key."""
    first = session.get(SealRow, 1)
    return first is not None and not hmac.compare_digest(first.seal, seal_of(first, key=key))


def _cut_off(session: Session, stated: Seal) -> AuditProblem:
    last = session.scalar(sa.select(sa.func.max(SealRow.event_id))) or 0
    return AuditProblem(
        kind=AuditFault.CUT_OFF,
        event_id=stated.event_id,
        message=f"The anchor says that the trail was sealed up to event {stated.event_id} "
        f"({stated.sealed_at:%Y-%m-%d %H:%M:%S} UTC), but the seals end at event {last}. The end "
        "was removed, or an older database was restored.",
    )


def _check_seals(session: Session, removed: RemovedEvents, *, key: bytes) -> Iterator[AuditProblem]:
    """Check each seal by itself, then against the one before it, then its event."""
    pairs = session.execute(
        sa.select(SealRow, JobEventRow)
        .outerjoin(JobEventRow, JobEventRow.id == SealRow.event_id)
        .order_by(SealRow.position)
        .execution_options(yield_per=_CHUNK)
    )
    position, seal, event_id = 0, "", 0
    for row, event in pairs:
        if row.position != position + 1:
            yield _seal_problem(
                row.event_id,
                f"{row.position - position - 1} seals between events {event_id} and "
                f"{row.event_id} were removed.",
            )
        elif row.previous_seal != seal:
            yield _seal_problem(row.event_id, "It does not follow the seal before it.")
        if not hmac.compare_digest(row.seal, seal_of(row, key=key)):
            yield _seal_problem(row.event_id, "It was changed, or made with another key.")
        if event is not None or not removed.holds(row.event_id):
            yield from _check_sealed_event(session, row, event)
        position, seal, event_id = row.position, row.seal, row.event_id


def _check_sealed_event(
    session: Session, row: SealRow, event: JobEventRow | None
) -> Iterator[AuditProblem]:
    if event is None:
        yield AuditProblem(
            kind=AuditFault.MISSING,
            event_id=row.event_id,
            message=f"Event {row.event_id} was sealed and is not there.",
        )
        return
    found = event_hash(event)
    if found == event.hash == row.event_hash:
        return
    other = session.scalar(sa.select(SealRow.event_id).where(SealRow.event_hash == found))
    if other is not None and other != row.event_id:
        message = f"Event {row.event_id} holds what was sealed as event {other}."
        yield AuditProblem(kind=AuditFault.SWAPPED, event_id=row.event_id, message=message)
        return
    of_job = "" if event.job_id is None else f" of job {event.job_id}"
    message = f"Event {row.event_id}{of_job} is not what was sealed."
    yield AuditProblem(kind=AuditFault.CHANGED, event_id=row.event_id, message=message)


def _check_unsealed(session: Session) -> Iterator[AuditProblem]:
    """Check the events without a seal: none may lie before the head; the others must follow."""
    head = session.scalar(sa.select(sa.func.max(SealRow.event_id))) or 0
    events = session.scalars(
        sa.select(JobEventRow)
        .outerjoin(SealRow, SealRow.event_id == JobEventRow.id)
        .where(SealRow.position.is_(None))
        .order_by(JobEventRow.id)
        .execution_options(yield_per=_CHUNK)
    )
    for event in events:
        if event.id < head:
            message = f"Event {event.id} has no seal, though later events have."
            yield AuditProblem(kind=AuditFault.INSERTED, event_id=event.id, message=message)
        elif event_hash(event) != event.hash:
            message = f"Event {event.id}, not sealed yet, is not what was written."
            yield AuditProblem(kind=AuditFault.CHANGED, event_id=event.id, message=message)
        elif event.previous_hash != _hash_before(session, event):
            message = f"The event before event {event.id} of the same job is not there."
            yield AuditProblem(kind=AuditFault.MISSING, event_id=event.id, message=message)


def _hash_before(session: Session, event: JobEventRow) -> str:
    same_job = (
        JobEventRow.job_id.is_(None) if event.job_id is None else JobEventRow.job_id == event.job_id
    )
    before = (
        sa.select(JobEventRow.hash)
        .where(same_job, JobEventRow.id < event.id)
        .order_by(JobEventRow.id.desc())
        .limit(1)
    )
    return session.scalar(before) or ""


def _seal_problem(event_id: int, why: str) -> AuditProblem:
    message = f"The seal of event {event_id} is not right. {why}"
    return AuditProblem(kind=AuditFault.SEAL, event_id=event_id, message=message)
