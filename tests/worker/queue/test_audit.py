from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.audit import AuditFault
from schemas.errors import AuditAnchorError, AuditBrokenError
from schemas.inquiries import EventFilter
from schemas.tables import Job, JobEventRow, OutboxRow, Output, Result, SealRow
from tests.fakes import Clock
from tests.worker.queue.makers import arrival, send_all, settled
from worker.queue.audit import AuditTrail
from worker.queue.jobs import JobQueue
from worker.queue.ledger import event_hash
from worker.queue.outbox import Outbox

KEY = b"k" * 32
OTHER_KEY = b"o" * 32


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    return tmp_path / "audit.anchor"


@pytest.fixture
def trail(engine: Engine, clock: Clock) -> AuditTrail:
    return AuditTrail(engine, now=clock)


@pytest.fixture
def sealed(queue: JobQueue, outbox: Outbox, trail: AuditTrail, anchor: Path) -> AuditTrail:
    """A trail of two jobs and one event without a job, thirteen events, all sealed."""
    settled(queue, uid="1.2.3")
    settled(queue, uid="1.2.4")
    send_all(outbox)
    queue.record_event(event="rejected", reason="cannot be parsed", detail={"status": 0xC000})
    assert trail.seal(KEY, anchor) == 13
    return trail


def faults(trail: AuditTrail, anchor: Path, *, key: bytes = KEY) -> list[tuple[str, int | None]]:
    return [(problem.kind.value, problem.event_id) for problem in trail.verify(key, anchor)]


def forge(engine: Engine, event_id: int, change: Callable[[JobEventRow], None]) -> None:
    """Change an event as one would who can write to the database and knows how to hash."""
    with Session(engine) as session, session.begin():
        row = session.get_one(JobEventRow, event_id)
        change(row)
        row.hash = event_hash(row)


def test_a_trail_that_nobody_touched_is_whole(sealed: AuditTrail, anchor: Path) -> None:
    assert sealed.verify(KEY, anchor) == ()


def test_sealing_goes_on_where_it_ended(sealed: AuditTrail, anchor: Path, queue: JobQueue) -> None:
    queue.receive(arrival("1.2.5"))

    assert sealed.seal(KEY, anchor) == 1
    assert sealed.seal(KEY, anchor) == 0
    assert sealed.verify(KEY, anchor) == ()


def test_the_anchor_says_how_recent_the_seal_is(
    sealed: AuditTrail, anchor: Path, clock: Clock
) -> None:
    clock.forward(minutes=5)
    sealed.seal(KEY, anchor)
    last = sealed.last_seal(KEY, anchor)

    assert last is not None
    assert (last.position, last.event_id, last.sealed_at) == (13, 13, clock())


def test_an_event_that_was_changed_with_a_right_hash_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine
) -> None:
    forge(engine, 3, lambda row: setattr(row, "reason", "nothing to see here"))

    assert faults(sealed, anchor) == [("changed", 3)]


@pytest.mark.parametrize(
    "column", ["at", "actor", "event", "after", "reason", "detail", "previous_hash", "job_id"]
)
def test_a_change_in_any_column_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine, column: str
) -> None:
    other = {"at": "2020-01-01 00:00:00", "job_id": 2, "after": "failed"}.get(column, "x")
    if engine.dialect.name == "postgresql" and column == "at":
        other = f"{other}+00"
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                f"UPDATE job_events SET {column} = {'2' if other == 2 else repr(other)} "  # noqa: S608 - our own words
                "WHERE id = 3"
            )
        )

    assert faults(sealed, anchor) == [("changed", 3)]


def test_an_event_that_was_removed_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(JobEventRow).where(JobEventRow.id == 4))

    assert faults(sealed, anchor) == [("missing", 4)]


def test_an_event_that_was_removed_with_its_seal_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(JobEventRow).where(JobEventRow.id == 4))
        connection.execute(sa.delete(SealRow).where(SealRow.event_id == 4))

    assert faults(sealed, anchor) == [("seal", 5)]
    assert "1 seals between events 3 and 5 were removed" in sealed.verify(KEY, anchor)[0].message


def test_two_events_that_were_swapped_are_named(
    sealed: AuditTrail, anchor: Path, engine: Engine
) -> None:
    with engine.begin() as connection:
        for before, after in ((2, 1002), (3, 2), (1002, 3)):
            connection.execute(
                sa.update(JobEventRow).where(JobEventRow.id == before).values(id=after)
            )

    assert faults(sealed, anchor) == [("swapped", 2), ("swapped", 3)]


def test_a_trail_whose_end_was_cut_off_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(JobEventRow).where(JobEventRow.id > 10))
        connection.execute(sa.delete(SealRow).where(SealRow.event_id > 10))

    assert faults(sealed, anchor) == [("cut_off", 13)]


def test_sealing_does_not_cover_up_a_cut(sealed: AuditTrail, anchor: Path, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(JobEventRow).where(JobEventRow.id > 10))
        connection.execute(sa.delete(SealRow).where(SealRow.event_id > 10))

    with pytest.raises(AuditBrokenError):
        sealed.seal(KEY, anchor)

    assert faults(sealed, anchor) == [("cut_off", 13)]


def test_an_event_put_in_later_is_found(sealed: AuditTrail, anchor: Path, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(JobEventRow).where(JobEventRow.id == 4))
        connection.execute(sa.delete(SealRow).where(SealRow.event_id == 4))
    with Session(engine) as session, session.begin():
        original = session.get_one(JobEventRow, 5)
        columns = {c.key: getattr(original, c.key) for c in JobEventRow.__table__.columns}
        session.add(JobEventRow(**{**columns, "id": 4}))

    assert ("inserted", 4) in faults(sealed, anchor)


def test_a_seal_that_was_changed_is_found(sealed: AuditTrail, anchor: Path, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(SealRow).where(SealRow.position == 5).values(seal="0" * 64))

    assert faults(sealed, anchor) == [("seal", 5), ("seal", 6)]


def test_an_unsealed_event_that_was_changed_is_found(
    sealed: AuditTrail, anchor: Path, queue: JobQueue, engine: Engine
) -> None:
    queue.receive(arrival("1.2.5"))
    with engine.begin() as connection:
        connection.execute(
            sa.update(JobEventRow).where(JobEventRow.id == 14).values(actor="nobody")
        )

    assert faults(sealed, anchor) == [("changed", 14)]


def test_an_unsealed_event_that_was_removed_is_found(
    trail: AuditTrail, anchor: Path, queue: JobQueue, engine: Engine
) -> None:
    settled(queue)
    with engine.begin() as connection:
        connection.execute(sa.delete(JobEventRow).where(JobEventRow.id == 2))

    assert faults(trail, anchor) == [("missing", 3)]


def test_a_trail_without_its_anchor_is_not_called_whole(sealed: AuditTrail, anchor: Path) -> None:
    anchor.unlink()

    assert faults(sealed, anchor) == [("no_anchor", None)]


def test_a_new_anchor_is_itself_an_event(sealed: AuditTrail, anchor: Path) -> None:
    anchor.unlink()
    sealed.seal(KEY, anchor)

    assert [event.event for event in sealed.list(limit=1)] == ["anchor_made"]
    assert sealed.verify(KEY, anchor) == ()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"mac": "x"}', b'{"mac": 1}', b"\xff"])
def test_a_damaged_anchor_is_not_sealed_over(
    sealed: AuditTrail, anchor: Path, content: bytes
) -> None:
    anchor.write_bytes(content)

    with pytest.raises(AuditAnchorError):
        sealed.seal(KEY, anchor)
    assert faults(sealed, anchor) == [("anchor", None)]


def test_another_key_can_neither_seal_nor_verify(sealed: AuditTrail, anchor: Path) -> None:
    with pytest.raises(AuditAnchorError):
        sealed.seal(OTHER_KEY, anchor)

    assert faults(sealed, anchor, key=OTHER_KEY) == [(AuditFault.ANCHOR.value, None)]


def test_an_empty_trail_is_whole(trail: AuditTrail, anchor: Path) -> None:
    assert trail.seal(KEY, anchor) == 0
    assert trail.verify(KEY, anchor) == ()


def test_events_are_listed_by_job_or_time(
    sealed: AuditTrail, queue: JobQueue, clock: Clock
) -> None:
    later = clock.forward(hours=1)
    queue.receive(arrival("1.2.5"))

    assert [event.event for event in sealed.list(EventFilter(since=later))] == ["received"]
    assert {event.job_id for event in sealed.list(EventFilter(job_id=2))} == {2}
    assert [event.event_id for event in sealed.list(limit=3)] == [12, 13, 14]


@pytest.mark.parametrize(
    ("column", "value"), [("bone_age_months", 96.0), ("sex", "F"), ("reason", "not_a_hand")]
)
def test_a_result_that_was_changed_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine, column: str, value: object
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(Result).where(Result.id == 1).values({column: value}))

    (problem,) = sealed.verify(KEY, anchor)

    assert problem.kind is AuditFault.RESULT
    assert problem.message == "Revision 1 of job 1 is not what was settled."


def test_a_result_that_was_put_in_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine
) -> None:
    with Session(engine) as session, session.begin():
        original = session.get_one(Result, 1)
        columns = {c.key: getattr(original, c.key) for c in Result.__table__.columns}
        session.add(Result(**{**columns, "id": 99, "revision": 2}))

    assert faults(sealed, anchor) == [("result", None)]


def test_a_result_that_was_removed_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine
) -> None:
    with engine.begin() as connection:
        outputs = sa.select(Output.id).where(Output.result_id == 1)
        connection.execute(sa.delete(OutboxRow).where(OutboxRow.result_id == 1))
        connection.execute(sa.delete(Output).where(Output.id.in_(outputs)))
        connection.execute(sa.delete(Result).where(Result.id == 1))

    assert [problem.message for problem in sealed.verify(KEY, anchor)] == [
        "Revision 1 of job 1 is not there."
    ]


def test_a_job_in_another_state_than_its_trail_says_is_found(
    sealed: AuditTrail, anchor: Path, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(Job).where(Job.id == 2).values(state="ignored"))

    assert [problem.message for problem in sealed.verify(KEY, anchor)] == [
        "Job 2 is ignored, but its trail says delivered."
    ]
