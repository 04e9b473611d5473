import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, ProgrammingError, StatementError

import schemas.migrations
import schemas.partial_indexes  # they belong to the tables
from schemas.errors import (
    BackupUnsupportedError,
    DatabaseUnavailableError,
    NetworkFileSystemError,
    SchemaMismatchError,
)
from schemas.jobs import JobState
from schemas.tables import Installation, Job, Table
from tests.fakes import Clock
from tests.worker.queue.makers import RETRY, arrival, settled
from tests.worker.queue.postgresql import Server
from worker.queue.database import (
    backup,
    check,
    installation_id,
    open_engine,
    reading,
    require_current_schema,
    sqlite_url,
    time_of,
    upgrade,
    writing,
)
from worker.queue.jobs import JobQueue
from worker.queue.mounts import file_system_of, require_local

NEWEST = max((Path(schemas.migrations.__path__[0]) / "versions").glob("v*_*.py")).name[1:5]

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:45 / /mnt/share rw,relatime shared:1 - nfs4 server:/export rw
31 22 8:2 / /mnt/with\\040space rw - xfs /dev/sdb1 rw
32 30 8:3 / /mnt/share/local rw - ext4 /dev/sdc1 rw
33 22 0:50 / /mnt/windows rw - cifs //server/share rw
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Engine]:
    """An engine for a SQLite database that is not there yet."""
    engine = open_engine(sqlite_url(tmp_path / "new" / "root"))
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(empty_sqlite: Path, tmp_path: Path) -> Iterator[Engine]:
    shutil.copy(empty_sqlite, tmp_path)
    engine = open_engine(sqlite_url(tmp_path))
    yield engine
    engine.dispose()


def test_a_new_database_is_made_by_upgrade(fresh: Engine) -> None:
    revision = upgrade(fresh, backup_folder=None)

    require_current_schema(fresh)
    assert upgrade(fresh, backup_folder=None) == revision
    assert check(fresh) == ()


def test_the_steps_lead_to_the_tables_that_the_code_knows(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Table.metadata)

    tables = set(Table.metadata.tables)
    assert [d for d in differences if _table_of(d) in tables] == []


def test_the_steps_make_the_same_rules_as_the_tables(sqlite_engine: Engine) -> None:
    declared = sa.create_engine("sqlite://")
    Table.metadata.create_all(declared)

    assert _rules(sqlite_engine) == _rules(declared)
    declared.dispose()


def test_the_names_of_the_steps_are_their_numbers() -> None:
    config = AlembicConfig()
    config.set_main_option("script_location", schemas.migrations.__path__[0])

    steps = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]

    folder = Path(schemas.migrations.__path__[0]) / "versions"
    assert steps == sorted((path.name[1:5] for path in folder.glob("v*_*.py")), reverse=True)


def test_a_database_that_is_not_there_is_not_made_by_looking(fresh: Engine) -> None:
    with pytest.raises(SchemaMismatchError, match="no database of ours yet"):
        require_current_schema(fresh)

    assert not Path(str(fresh.url.database)).exists()


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(SchemaMismatchError, match="9999"):
            require_current_schema(engine)
        with pytest.raises(SchemaMismatchError, match="9999"):
            upgrade(engine, backup_folder=None)
    finally:
        with engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE alembic_version SET version_num = :newest"), {"newest": NEWEST}
            )


def test_two_that_upgrade_at_once_upgrade_once(tmp_path: Path) -> None:
    engines = [open_engine(sqlite_url(tmp_path)) for _ in range(4)]
    start = threading.Barrier(4)

    def go(engine: Engine) -> str:
        start.wait()
        return upgrade(engine, backup_folder=None)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(go, engines))) == 1
    require_current_schema(engines[0])
    for engine in engines:
        engine.dispose()


def test_postgresql_is_made_by_upgrade_too(server: Server) -> None:
    with server.other_database() as url:
        engine = open_engine(url)
        upgrade(engine, backup_folder=None)
        require_current_schema(engine)
        engine.dispose()


def test_the_installation_keeps_its_identity(engine: Engine) -> None:
    first = installation_id(engine)

    assert len(first) == 32
    assert installation_id(engine) == first


def test_sqlite_keeps_what_it_acknowledged(sqlite_engine: Engine) -> None:
    with sqlite_engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_writer_that_read_first_is_never_told_that_the_database_is_locked(
    sqlite_engine: Engine,
) -> None:
    """A deferred transaction would: it cannot write after another one committed in between."""
    begun, done = threading.Event(), threading.Event()

    def other() -> None:
        begun.wait(timeout=30)
        with writing(sqlite_engine) as session:
            session.execute(sa.update(Installation).values(installation_id="other"))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with writing(sqlite_engine) as session:
        session.execute(sa.select(Installation)).all()
        begun.set()
        assert not done.wait(timeout=0.2)  # the other one waits for us
        session.execute(sa.delete(Installation))
    thread.join(timeout=30)

    assert done.is_set()


def test_a_thread_that_has_to_wait_does_not_ask_sqlite_in_vain(sqlite_engine: Engine) -> None:
    begun: list[str] = []
    sa.event.listen(
        sqlite_engine, "begin", lambda _connection: begun.append(threading.current_thread().name)
    )
    is_coming = threading.Event()

    def write() -> None:
        is_coming.set()
        with writing(sqlite_engine) as session:
            session.execute(sa.select(1))

    second = threading.Thread(target=write, name="second")
    with writing(sqlite_engine) as session:
        session.execute(sa.select(1))
        second.start()
        assert is_coming.wait(timeout=30)
        second.join(timeout=0.2)  # as long as it would take to ask
        assert "second" not in begun
    second.join(timeout=30)

    assert begun[-1] == "second"


def test_a_reader_cannot_write(engine: Engine) -> None:
    """Nor can it fall into the trap of reading first and writing later."""
    with pytest.raises((DatabaseUnavailableError, sa.exc.DBAPIError)), reading(engine) as session:
        session.execute(sa.delete(Installation))


def test_a_connection_that_read_can_write_afterwards(engine: Engine) -> None:
    with reading(engine) as session:
        session.execute(sa.select(Installation)).all()
    with writing(engine) as session:
        session.execute(sa.delete(Installation))


def test_readers_do_not_wait_for_a_writer(sqlite_engine: Engine) -> None:
    with writing(sqlite_engine) as session:
        session.execute(sa.delete(Installation))
        with reading(sqlite_engine) as other:
            assert other.scalar(sa.select(sa.func.count()).select_from(Job)) == 0


def test_a_database_that_is_away_is_an_error_that_waiting_may_help() -> None:
    engine = open_engine("postgresql+psycopg://boneage@/x?host=/nowhere")
    with pytest.raises(DatabaseUnavailableError, match="database server"):
        require_current_schema(engine)
    engine.dispose()


def test_a_database_error_does_not_quote_what_was_to_be_stored(engine: Engine) -> None:
    with pytest.raises(IntegrityError) as caught, writing(engine) as session:
        session.execute(sa.insert(Installation).values(id=2, installation_id="CANARY"))

    assert "CANARY" not in str(caught.value).replace(str(caught.value.orig), "")


def test_a_backup_is_a_whole_database(sqlite_engine: Engine, tmp_path: Path) -> None:
    settled(JobQueue(sqlite_engine, now=Clock(), actor="test", release="r1", retry=RETRY))
    path = backup(sqlite_engine, tmp_path / "backups")

    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    copy = open_engine(f"sqlite:///{path}")
    require_current_schema(copy)
    with reading(copy) as session:
        assert session.scalar(sa.select(Job.state)) is JobState.DELIVERING
    copy.dispose()


def test_an_upgrade_backs_up_what_was_there(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_step(tmp_path, monkeypatch, does='op.execute("CREATE TABLE extra (id INTEGER)")')
    with pytest.raises(SchemaMismatchError, match=rf"{NEWEST}.*9999"):
        require_current_schema(sqlite_engine)

    assert upgrade(sqlite_engine, backup_folder=tmp_path / "backups") == "9999"

    (path,) = (tmp_path / "backups").iterdir()
    with closing(sqlite3.connect(path)) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [(NEWEST,)]


def test_a_step_that_fails_leaves_what_was_there(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    does = 'op.execute("CREATE TABLE extra (id INTEGER)"); op.execute("SELECT * FROM nowhere")'
    with monkeypatch.context() as patch:
        add_step(tmp_path, patch, does=does)
        with pytest.raises((DatabaseUnavailableError, ProgrammingError)):
            upgrade(engine, backup_folder=None)

    require_current_schema(engine)
    assert not sa.inspect(engine).has_table("extra")


def test_postgresql_is_backed_up_by_its_own_tools(server: Server, tmp_path: Path) -> None:
    engine = open_engine(server.url)
    with pytest.raises(BackupUnsupportedError, match="pg_dump"):
        backup(engine, tmp_path)
    engine.dispose()


def test_a_damaged_database_is_not_called_sound(sqlite_engine: Engine, tmp_path: Path) -> None:
    path = backup(sqlite_engine, tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO outputs VALUES (1, 99, 'SC', '1', '2', '2026-01-01')")
    damaged = open_engine(f"sqlite:///{path}")

    assert check(damaged) == ("row 1 of outputs points to a row of results that is not there",)
    damaged.dispose()


@pytest.mark.parametrize(
    ("path", "file_system"),
    [
        ("/var/lib/boneage/boneage.sqlite", "ext4"),
        ("/mnt/share/boneage.sqlite", "nfs4"),
        ("/mnt/share/local/boneage.sqlite", "ext4"),
        ("/mnt/shared/boneage.sqlite", "ext4"),
        ("/mnt/with space/boneage.sqlite", "xfs"),
        ("/mnt/windows/a/b/boneage.sqlite", "cifs"),
    ],
)
def test_the_file_system_of_a_path_is_known(tmp_path: Path, path: str, file_system: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)

    assert file_system_of(Path(path), mounts=tmp_path / "mountinfo") == file_system


@pytest.mark.parametrize("folder", ["/mnt/share", "/mnt/windows"])
def test_sqlite_is_refused_on_a_network_file_system(tmp_path: Path, folder: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)

    with pytest.raises(NetworkFileSystemError, match="local disk"):
        require_local(Path(folder) / "boneage.sqlite", mounts=tmp_path / "mountinfo")


def test_a_host_that_does_not_tell_its_mounts_is_trusted(tmp_path: Path) -> None:
    require_local(tmp_path, mounts=tmp_path / "absent")

    assert file_system_of(tmp_path, mounts=tmp_path / "absent") == ""


def test_a_time_comes_back_in_utc(engine: Engine, queue: JobQueue) -> None:
    queue.receive(arrival())
    east = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=9)))
    with writing(engine) as session:
        session.execute(sa.update(Job).values(run_after=east))
    with reading(engine) as session:
        found = session.scalar(sa.select(Job.run_after))

    assert found == east
    assert found is not None
    assert found.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(engine: Engine) -> None:
    naive = datetime(2026, 7, 1, 12)  # noqa: DTZ001 - that is the point
    with pytest.raises(StatementError, match="Make it aware"), writing(engine) as session:
        session.execute(sa.update(Job).values(run_after=naive))


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "running"},
        {"state": "sleeping"},
        {"claim_token": "t"},
        {"lease_ends_at": "2026-01-01 00:00:00"},
        {"attempt": -1},
        {"revision": -1},
    ],
    ids=lambda wrong: next(iter(wrong)) + "=" + str(next(iter(wrong.values()))),
)
def test_the_database_guards_what_must_be_true_of_a_job(
    engine: Engine, queue: JobQueue, wrong: dict[str, str | int]
) -> None:
    queue.receive(arrival())
    ((column, value),) = wrong.items()
    told = f"UPDATE jobs SET {column} = {value!r}"  # noqa: S608 - our own words

    with pytest.raises(IntegrityError, match="ck_jobs_"), engine.begin() as connection:
        connection.execute(sa.text(told))


def test_one_image_read_by_one_release_is_one_job_for_ever(engine: Engine, queue: JobQueue) -> None:
    queue.receive(arrival())
    copied = [column.key for column in Job.__table__.columns if column.key != "id"]
    again = sa.insert(Job).from_select(copied, sa.select(*(getattr(Job, key) for key in copied)))
    told = r"uq_jobs_|jobs\.sop_instance_uid"

    with pytest.raises(IntegrityError, match=told), writing(engine) as session:
        session.execute(again)


def test_the_clock_of_the_database_counts_where_hosts_may_disagree(
    engine: Engine, clock: Clock
) -> None:
    def wrong() -> datetime:
        return datetime(1999, 1, 1, tzinfo=UTC)

    with reading(engine) as session:
        told = time_of(session, wrong)

    assert told == (clock() if engine.dialect.name == "postgresql" else wrong())


def add_step(tmp_path: Path, patch: pytest.MonkeyPatch, *, does: str) -> None:
    """Let the software have one more step than the database."""
    steps = tmp_path / "migrations"
    shutil.copytree(schemas.migrations.__path__[0], steps)
    (steps / "versions" / "v9999_next.py").write_text(
        f"""from alembic import op
revision = "9999"
down_revision = "{NEWEST}"
def upgrade():
    {does}
"""
    )
    patch.setattr(schemas.migrations, "__path__", [str(steps)])


def _table_of(difference: object) -> str:
    parts = difference[0] if isinstance(difference, list) else difference
    assert isinstance(parts, tuple)
    return next((str(getattr(part, "name", part)) for part in parts[1:] if part is not None), "")


def _rules(engine: Engine) -> dict[str, set[str]]:
    """Every table's CREATE statements, in words without their order."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).all()
    rules: dict[str, set[str]] = {}
    for table, sql in rows:
        if table in Table.metadata.tables:
            # a column that a later step added stands on the line of the one before it
            apart = re.sub(r", (?=[a-z_]+ [A-Z]+)", ",\n", sql)
            lines = (line.strip().rstrip(",").strip() for line in apart.splitlines())
            rules.setdefault(table, set()).update(lines)
    return rules
