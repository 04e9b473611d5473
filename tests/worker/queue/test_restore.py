import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, event

from schemas.errors import (
    BackupUnsupportedError,
    BackupUnusableError,
    DatabaseCorruptError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    LeaseLostError,
)
from tests.fakes import Clock
from tests.worker.queue.makers import RETRY, arrival, claimed, result
from tests.worker.queue.postgresql import Server
from worker.queue.backups import back_up_when_due
from worker.queue.database import (
    backup,
    check,
    open_engine,
    require_current_schema,
    require_writable,
    sqlite_url,
)
from worker.queue.jobs import JobQueue
from worker.queue.restore import restore


@pytest.fixture
def engine(empty_sqlite: Path, tmp_path: Path) -> Iterator[Engine]:
    shutil.copy(empty_sqlite, tmp_path)
    engine = open_engine(sqlite_url(tmp_path))
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> JobQueue:
    return JobQueue(engine, now=Clock(), actor="test", release="r1", retry=RETRY)


def damage(engine: Engine, *, at: int = 0) -> Path:
    """Overwrite the database file from ``at`` on, as a bad disk does."""
    engine.dispose()
    path = Path(str(engine.url.database))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * (path.stat().st_size - at))
    return path


def test_a_restored_database_holds_what_the_backup_holds(
    engine: Engine, queue: JobQueue, tmp_path: Path
) -> None:
    queue.receive(arrival("1.1"))
    copy = backup(engine, tmp_path / "backups")
    queue.receive(arrival("1.2"))

    old = restore(engine, copy, set_aside=tmp_path / "backups")

    assert [job.sop_instance_uid for job in queue.jobs()] == ["1.1"]
    assert check(engine) == ()
    assert old is not None
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (2,)


def test_a_worker_that_runs_during_a_restore_loses_its_claim_and_goes_on(
    engine: Engine, queue: JobQueue, tmp_path: Path
) -> None:
    other = open_engine(str(engine.url))
    running = JobQueue(other, now=Clock(), actor="infer", release="r1", retry=RETRY)
    running.receive(arrival("1.1"))
    copy = backup(engine, tmp_path / "backups")
    claim = claimed(running)

    restore(engine, copy, set_aside=tmp_path / "backups")

    with pytest.raises(LeaseLostError):
        running.settle(claim, result(claim))
    again = claimed(running)
    running.settle(again, result(again))
    assert queue.job(1).revision == 1
    other.dispose()


@pytest.mark.parametrize("at", [0, 100])
def test_a_damaged_database_is_replaced_and_kept_as_evidence(
    engine: Engine, queue: JobQueue, tmp_path: Path, at: int
) -> None:
    queue.receive(arrival("1.1"))
    copy = backup(engine, tmp_path / "backups")
    path = damage(engine, at=at)
    damaged = path.read_bytes()

    old = restore(engine, copy, set_aside=tmp_path / "backups")

    assert [job.sop_instance_uid for job in queue.jobs()] == ["1.1"]
    assert old is not None
    assert old.read_bytes() == damaged


def test_a_database_that_is_gone_is_put_back(
    engine: Engine, queue: JobQueue, tmp_path: Path
) -> None:
    queue.receive(arrival("1.1"))
    copy = backup(engine, tmp_path / "backups")
    engine.dispose()
    for path in tmp_path.glob("boneage.sqlite*"):
        path.unlink()

    assert restore(engine, copy, set_aside=tmp_path / "backups") is None

    assert [job.sop_instance_uid for job in queue.jobs()] == ["1.1"]


@pytest.mark.parametrize("content", [None, b"", b"no database", b"\xa5" * 100_000])
def test_what_is_no_backup_changes_nothing(
    engine: Engine, queue: JobQueue, tmp_path: Path, content: bytes | None
) -> None:
    queue.receive(arrival("1.1"))
    wrong = tmp_path / "wrong.sqlite"
    if content is not None:
        wrong.write_bytes(content)

    with pytest.raises(BackupUnusableError, match="Nothing was changed"):
        restore(engine, wrong, set_aside=tmp_path / "backups")

    assert len(queue.jobs()) == 1


def test_postgresql_is_restored_by_its_own_tools(server: Server, tmp_path: Path) -> None:
    postgresql = open_engine(server.url)
    with pytest.raises(BackupUnsupportedError):
        restore(postgresql, tmp_path / "x", set_aside=tmp_path)
    postgresql.dispose()


# what a database that cannot be used says


def test_a_damaged_database_is_refused_at_start(engine: Engine) -> None:
    damage(engine)

    with pytest.raises(DatabaseCorruptError, match="db restore"):
        require_current_schema(engine)


def test_nothing_is_received_into_a_damaged_database(engine: Engine, queue: JobQueue) -> None:
    damage(engine, at=4096)

    with pytest.raises((DatabaseCorruptError, DatabaseUnavailableError)):
        queue.receive(arrival())


def test_a_database_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    """Opened as a process without the right to write opens it; root may always write."""
    path = tmp_path / "boneage.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE t (id INTEGER)")
    read_only = open_engine(f"sqlite:///file:{path}?mode=ro&uri=true")

    with pytest.raises(DatabaseReadOnlyError, match="rights"):
        require_writable(read_only)
    read_only.dispose()


def test_a_database_that_can_be_written_is_left_as_it_is(engine: Engine) -> None:
    require_writable(engine)

    assert not sa.inspect(engine).has_table("writable_probe")


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(
    engine: Engine, queue: JobQueue
) -> None:
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1").close()  # as many as it has: it is full

    queue.receive(arrival("1.1"))
    engine.dispose()
    event.listen(engine, "connect", limit)
    told = []
    for number in range(200):
        try:
            queue.receive(arrival(f"1.2.{number}"))
        except DatabaseUnavailableError as error:
            told.append(str(error))
            break
    assert "SQLITE_FULL" in told[0]
    before = len(queue.jobs(limit=1000))

    event.remove(engine, "connect", limit)
    engine.dispose()
    queue.receive(arrival("1.3"))

    assert len(queue.jobs(limit=1000)) == before + 1
    assert check(engine) == ()


# back-ups by the clock


def back_up(engine: Engine, folder: Path, clock: Clock, *, keep: int = 3) -> int:
    return back_up_when_due(engine, folder, every=timedelta(hours=24), keep=keep, now=clock)


def test_a_backup_is_made_when_the_newest_is_a_day_old(engine: Engine, tmp_path: Path) -> None:
    clock, folder = Clock(datetime.now(UTC)), tmp_path / "backups"
    assert back_up(engine, folder, clock) == 1
    clock.forward(hours=23)
    assert back_up(engine, folder, clock) == 0
    clock.forward(hours=2)

    assert back_up(engine, folder, clock) == 1


def test_only_the_newest_backups_are_kept_and_nothing_of_others_is_touched(
    engine: Engine, tmp_path: Path
) -> None:
    clock, folder = Clock(datetime.now(UTC)), tmp_path / "backups"
    folder.mkdir()
    (folder / "replaced-1.sqlite").touch()
    for day in range(5, 0, -1):
        old = folder / f"boneage-{day}.sqlite"
        old.touch()
        os.utime(old, (clock().timestamp() - day * 86400,) * 2)
    clock.forward(hours=1)

    back_up(engine, folder, clock)

    names = {path.name for path in folder.iterdir()}
    assert names >= {"replaced-1.sqlite", "boneage-1.sqlite", "boneage-2.sqlite"}
    assert len(names) == 4


def test_a_clock_that_was_set_back_does_not_stop_the_backups(
    engine: Engine, tmp_path: Path
) -> None:
    clock, folder = Clock(datetime.now(UTC)), tmp_path / "backups"
    back_up(engine, folder, clock)
    clock.back(hours=1000)

    assert back_up(engine, folder, clock) == 1
