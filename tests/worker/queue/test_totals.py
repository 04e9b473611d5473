from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.jobs import JobState
from schemas.refusals import IgnoreReason
from schemas.retention import RetentionPolicy
from schemas.tables import RestingTotalsRow, TombstoneRow
from tests.fakes import Clock
from tests.worker.queue.makers import LEASE, arrival, claimed, send_all, settled
from worker.operations.retention import RetentionRound
from worker.queue.audit import AuditTrail
from worker.queue.database import backup
from worker.queue.figures import Figures
from worker.queue.jobs import JobQueue
from worker.queue.orphans import Orphans
from worker.queue.outbox import Outbox
from worker.queue.restore import restore
from worker.queue.retention import FileRetention
from worker.queue.tombstones import RecordRetention
from worker.queue.totals import remember_totals

KEY = b"k" * 32


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


class Site:
    """A queue to which everything happens that may happen to one, by chance, from a seed."""

    def __init__(self, queue: JobQueue, engine: Engine, clock: Clock, folder: Path) -> None:
        self.queue = queue
        self.engine = engine
        self.clock = clock
        self.folder = folder
        self.outbox = Outbox(engine, now=clock, actor="test")
        self.running = Figures(engine, now=clock)
        self.backup: Path | None = None
        self.received = 0

    def steps(self) -> list[Callable[[], object]]:
        only_here = [self.keep_a_copy, self.go_back] if self.engine.dialect.name == "sqlite" else []
        often = [self.deliver, self.ignore, self.requeue, self.fail, self.cancel]
        return [*often, *often, self.remember, self.remember, self.grow_old, *only_here]

    def receive(self) -> str:
        self.received += 1
        uid = f"1.{self.received}"
        self.queue.receive(arrival(uid))
        return uid

    def deliver(self) -> None:
        settled(self.queue, uid=self.receive())
        send_all(self.outbox)

    def ignore(self) -> None:
        self.receive()
        self.queue.settle_ignored(claimed(self.queue), reason=IgnoreReason.NO_RULE)

    def requeue(self) -> None:
        for job in self.queue.jobs(states=(JobState.DELIVERED, JobState.IGNORED), limit=2):
            if job.image_removed_at is None:
                self.queue.requeue(job.job_id, reason="again")

    def fail(self) -> None:
        self.receive()
        self.queue.fail(claimed(self.queue), code="bug", message="test")

    def cancel(self) -> None:
        self.receive()
        for job in self.queue.jobs(states=(JobState.QUEUED,)):
            self.queue.cancel(job.job_id, reason="test")

    def remember(self) -> None:
        remember_totals(self.engine, now=self.clock)

    def grow_old(self) -> None:
        """Let retention take what came to rest, image, result and rows."""
        AuditTrail(self.engine, now=self.clock).seal(KEY, self.folder / "anchor")
        self.clock.forward(days=400)
        days = timedelta(days=30)
        policy = RetentionPolicy(images=days, ignored=days, records=timedelta(days=365))
        RetentionRound(
            files=FileRetention(
                self.engine,
                root=self.folder,
                policy=policy,
                now=self.clock,
                fingerprint=lambda _path: None,
            ),
            records=RecordRetention(
                self.engine, period=policy.records, is_exported=False, now=self.clock
            ),
            orphans=Orphans(self.engine, root=self.folder, now=self.clock),
            root=self.folder,
            policy=policy,
            key=lambda: KEY,
        ).run()

    def keep_a_copy(self) -> None:
        self.backup = backup(self.engine, self.folder / "backups")

    def go_back(self) -> None:
        if self.backup is not None:
            restore(self.engine, self.backup, set_aside=self.folder / "aside")
            (self.folder / "anchor").unlink(missing_ok=True)  # as the runbook says
            # a process that runs may see it a quarter of an hour later
            self.running = Figures(self.engine, now=self.clock)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_who_runs_and_who_starts_tell_what_counting_gives(
    seed: int,
    queue: JobQueue,
    engine: Engine,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.queue.totals.LATE_NUMBERS", 3)
    monkeypatch.setattr("worker.queue.totals._FAR_BACK", 60)
    site, chance = Site(queue, engine, clock, tmp_path), Random(seed)  # noqa: S311 - no secret
    for _ in range(30):
        step = chance.choice(site.steps())
        step()
        plain = {state: count for state, count in queue.counts().items() if count}

        assert counted(Figures(engine, now=clock)) == plain, step.__name__
        assert counted(site.running) == plain, step.__name__


@pytest.mark.usefixtures("settled_at_once")
def test_who_starts_carries_on_from_what_was_written_down(
    queue: JobQueue, engine: Engine, clock: Clock, outbox: Outbox
) -> None:
    settled(queue)
    send_all(outbox)
    remember_totals(engine, now=clock)
    with engine.begin() as connection:  # a figure that no counting would give
        connection.execute(sa.update(RestingTotalsRow).values(delivered=1_000_000))
    settled(queue, uid="1.2.4")
    send_all(outbox)

    assert counted(Figures(engine, now=clock)) == {JobState.DELIVERED: 1_000_001}


def test_totals_hold_while_several_write(
    queue: JobQueue, engine: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.queue.totals.LATE_NUMBERS", 60)  # of four, none is further behind
    running = Figures(engine, now=clock)

    def work(worker: int) -> None:
        for number in range(10):
            queue.receive(arrival(f"{worker}.{number + 1}"))
            while (claim := queue.claim(lease=LEASE)) is None:
                pass
            queue.settle_ignored(claim, reason=IgnoreReason.NO_RULE)
            if number % 3 == 0:
                queue.requeue(claim.job_id, reason="again")

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(work, worker) for worker in range(1, 5)]
        while not all(writer.done() for writer in writers):
            remember_totals(engine, now=clock)
            counted(running)
            counted(Figures(engine, now=clock))
        assert [writer.result() for writer in writers] == [None] * 4

    plain = {state: count for state, count in queue.counts().items() if count}
    assert counted(running) == plain
    assert counted(Figures(engine, now=clock)) == plain
