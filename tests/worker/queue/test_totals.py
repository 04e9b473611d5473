import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.jobs import JobState
from schemas.refusals import IgnoreReason
from schemas.tables import TombstoneRow
from tests.fakes import Clock
from tests.worker.queue.makers import arrival, claimed, send_all, settled
from worker.queue.figures import Figures
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox


@pytest.fixture
def figures(engine: Engine, clock: Clock) -> Figures:
    return Figures(engine, now=clock)


def counted(figures: Figures) -> dict[JobState, int]:
    return {state: each.count for state, each in figures.snapshot().jobs.items() if each.count}


@pytest.fixture
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.queue.totals.LATE_NUMBERS", 0)


@pytest.mark.parametrize("overlap", [0, 5])
def test_running_totals_are_what_counting_would_give(  # whether or not what moved is settled
    queue: JobQueue,
    outbox: Outbox,
    figures: Figures,
    monkeypatch: pytest.MonkeyPatch,
    overlap: int,
) -> None:
    monkeypatch.setattr("worker.queue.totals.LATE_NUMBERS", overlap)
    for number in range(3):
        claim = settled(queue, uid=f"1.{number}")
        send_all(outbox)
        queue.receive(arrival(f"2.{number}"))
        queue.settle_ignored(claimed(queue), reason=IgnoreReason.NO_RULE)
        if number % 2:
            queue.requeue(claim.job_id, reason="again")
            queue.fail(claimed(queue), code="bug", message="test")

        assert counted(figures) == {
            state: count for state, count in queue.counts().items() if count
        }


@pytest.mark.usefixtures("settled_at_once")
def test_totals_are_counted_anew_when_retention_took_jobs_away(
    queue: JobQueue, engine: Engine, clock: Clock, figures: Figures
) -> None:
    queue.receive(arrival())
    queue.settle_ignored(claimed(queue), reason=IgnoreReason.NO_RULE)
    assert counted(figures) == {JobState.IGNORED: 1}

    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM job_events"))
        connection.execute(sa.text("DELETE FROM jobs"))
        connection.execute(
            sa.insert(TombstoneRow).values(
                removed_at=clock(),
                policy="",
                ranges="",
                event_count=3,
                job_count=1,
                digest="",
                signature="",
            )
        )

    assert counted(figures) == {}


@pytest.mark.usefixtures("settled_at_once")
def test_totals_are_counted_anew_when_an_older_database_was_put_back(
    queue: JobQueue, engine: Engine, figures: Figures
) -> None:
    for number in range(3):
        queue.receive(arrival(f"1.{number}"))
        queue.settle_ignored(claimed(queue), reason=IgnoreReason.NO_RULE)
    assert counted(figures) == {JobState.IGNORED: 3}

    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM job_events WHERE job_id > 1"))
        connection.execute(sa.text("DELETE FROM jobs WHERE id > 1"))

    assert counted(figures) == {JobState.IGNORED: 1}


def test_a_scrape_reads_no_more_rows_when_more_jobs_are_finished(
    queue: JobQueue, outbox: Outbox, engine: Engine, figures: Figures
) -> None:
    """Each statement is asked how it would be done: none may read a whole table that grows."""
    if engine.dialect.name != "sqlite":
        pytest.skip("the plan of SQLite does not depend on how many rows there are now")
    settled(queue)
    send_all(outbox)
    figures.snapshot()
    said: list[tuple[str, object]] = []
    sa.event.listen(
        engine,
        "before_cursor_execute",
        lambda _c, _u, statement, parameters, *_: said.append((statement, parameters)),
    )
    figures.snapshot()
    queue.jobs(limit=100)
    statements = [each for each in said if each[0].lstrip().upper().startswith("SELECT")]
    assert len(statements) > 10

    with engine.connect() as connection:
        scans = [
            (row[3], statement)
            for statement, parameters in statements
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type] # as the driver had them
            if row[3].startswith("SCAN ")
            and "LIMIT" not in statement
            and not any(small in row[3] for small in ("periodic_runs", "peer_echoes", "tombstones"))
        ]

    assert scans == []
