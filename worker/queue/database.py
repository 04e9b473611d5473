"""Open a database, bring it to our schema, back it up.

SQLite is one file with one writer at a time; PostgreSQL is the way to several hosts. What differs
between the two is in this file: how a transaction begins, whose clock counts, what is locked.
"""

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    TimeoutError,  # noqa: A004 - theirs
)
from sqlalchemy.orm import Session

import schemas.migrations
from schemas.errors import (
    BackupUnsupportedError,
    DatabaseCorruptError,
    DatabaseReadOnlyError,
    DatabaseUnavailableError,
    SchemaMismatchError,
)
from schemas.tables import Installation
from worker.files import keep_durably
from worker.queue.dialect import insert_or_ignore
from worker.queue.mounts import require_local

if TYPE_CHECKING:  # loaded by an upgrade alone: looking at the version needs no Alembic
    from alembic.config import Config as AlembicConfig

DATABASE_FILE: Final = "boneage.sqlite"

#: how long a writer waits for the one before it; a transaction of ours takes milliseconds
BUSY_MILLISECONDS: Final = 30_000
_WAL_STEP_SECONDS: Final = 0.01

#: what SQLite calls a file that is damaged, or none of its own (sqlite.org/rescode.html)
_CORRUPT: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_READ_ONLY: Final = "boneage_read_only"
_TURNS: Final[WeakKeyDictionary[Engine, threading.Lock]] = WeakKeyDictionary()
_UPGRADE_LOCK: Final = 0x626F6E65  # any number of our own; PostgreSQL advisory locks are numbers


def sqlite_url(root: Path) -> str:
    """Return the URL of the default database under the storage root."""
    return f"sqlite:///{root / DATABASE_FILE}"


def open_engine(url: str) -> Engine:
    """Return an engine whose transactions are safe by default: writers lock first.

    Nothing is connected yet, and no file is made. Parameters never stand in its errors.

    Raises:
        NetworkFileSystemError: SQLite was to lie where its locks do not hold.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        engine = sa.create_engine(address, hide_parameters=True, pool_pre_ping=True)
        event.listen(engine, "begin", _begin_postgresql)
        return engine
    if address.database:
        require_local(Path(address.database))
    engine = sa.create_engine(
        address, hide_parameters=True, connect_args={"timeout": BUSY_MILLISECONDS / 1000}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    _TURNS[engine] = threading.Lock()
    return engine


def has_one_writer(engine: Engine) -> bool:
    """Say whether one transaction that writes has to wait for the other, as in a SQLite file."""
    return engine in _TURNS


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # None: the driver begins nothing by itself; _begin_sqlite does
    connection.isolation_level = None
    _use_write_ahead_log(connection)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Wait for others that make the same new database: for this SQLite itself does not wait."""
    end = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > end:
                raise
            time.sleep(_WAL_STEP_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the lock at once.

    A deferred transaction that reads and then writes fails with "database is locked" without
    waiting when another one committed in between; a reader is therefore not able to write at all.
    """
    is_reader = connection.get_execution_options().get(_READ_ONLY, False)
    if connection.info.get(_READ_ONLY) is not is_reader:
        connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if is_reader else 'OFF'}")
        connection.info[_READ_ONLY] = is_reader  # for as long as this connection is open
    connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get(_READ_ONLY, False):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """Open one transaction that sees one state of the database and cannot write.

    Raises:
        DatabaseUnavailableError: the database did not answer.
    """
    reader = engine.execution_options(**{_READ_ONLY: True})
    with _plain_errors(), Session(reader) as session, session.begin():
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """Open one transaction that is committed at the end, or rolled back by an error.

    Raises:
        DatabaseUnavailableError: the database did not take it; nothing of it was written.
    """
    with writing_plainly(engine) as connection, Session(connection) as session:
        yield session
        session.flush()


@contextmanager
def writing_plainly(engine: Engine) -> Iterator[Connection]:
    """Open the same for statements alone: of a new image's time a session would take a tenth.

    Raises:
        DatabaseUnavailableError: the database did not take it; nothing of it was written.
    """
    with _plain_errors(), _turn_of(engine), engine.begin() as connection:
        yield connection


@contextmanager
def _turn_of(engine: Engine) -> Iterator[None]:
    """Let the threads that write a SQLite file do so one after another.

    SQLite has one writer at a time, and whoever finds it busy sleeps for 1 to 100 ms before it
    looks again; here the next one goes on at once. Whose turn does not come is told so by SQLite.
    """
    lock = _TURNS.get(engine)
    is_ours = lock is not None and lock.acquire(timeout=BUSY_MILLISECONDS / 1000)
    try:
        yield
    finally:
        if lock is not None and is_ours:
            lock.release()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what a database says when it is away, full or busy into an error of ours."""
    try:
        yield
    except (DatabaseError, InterfaceError, TimeoutError) as error:
        told = getattr(error, "orig", None)
        name = getattr(told, "sqlite_errorname", None) or getattr(told, "sqlstate", None) or ""
        if name.startswith(_CORRUPT):
            raise DatabaseCorruptError(found=name) from error
        if isinstance(error, DatabaseError) and not isinstance(error, OperationalError):
            raise  # a bug of ours, such as a constraint that is not kept
        raise DatabaseUnavailableError(found=name or type(told or error).__name__) from error


def time_of(session: Session | Connection, now: Callable[[], datetime]) -> datetime:
    """Return the time that counts, in UTC: a day there has always 24 hours.

    It is that of this host, or of the database where hosts may disagree.
    """
    bind = session.get_bind() if isinstance(session, Session) else session
    if bind.dialect.name != "postgresql":
        return now().astimezone(UTC)
    told: datetime = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return told.astimezone(UTC)


def clock_of(engine: Engine, now: Callable[[], datetime]) -> Callable[[], datetime]:
    """Return the clock that counts for this database, to be asked outside of a transaction."""

    def tell() -> datetime:
        with reading(engine) as session:
            return time_of(session, now)

    return tell


def installation_id(engine: Engine) -> str:
    """Return the identity of this installation, made at the first call and kept for ever."""
    chosen = sa.select(Installation.installation_id)
    with reading(engine) as session:
        if (found := session.scalar(chosen)) is not None:
            return found
    with writing(engine) as session:
        new = {"id": 1, "installation_id": uuid.uuid4().hex}
        session.execute(insert_or_ignore(session, Installation).values(new))
        return session.execute(chosen).scalar_one()


def require_current_schema(engine: Engine) -> None:
    """Return if the database has exactly our schema; make and change nothing.

    Raises:
        SchemaMismatchError: it is older, newer, or not there.
        DatabaseUnavailableError: the database did not answer.
    """
    expected = _head()
    found = None
    if not _is_absent(engine):
        reader = engine.execution_options(**{_READ_ONLY: True})
        with _plain_errors(), reader.begin() as connection:
            found = _revision(connection)
    if found != expected:
        raise SchemaMismatchError(found=found, expected=expected)


def require_writable(engine: Engine) -> None:
    """Return if a transaction can be committed; make an empty SQLite file where there is none.

    Raises:
        DatabaseReadOnlyError: it cannot be, and waiting will not help.
        DatabaseCorruptError: the file is damaged.
        DatabaseUnavailableError: it cannot be now.
    """
    _make_folder(engine)
    try:
        with writing(engine) as session:
            session.execute(sa.text("CREATE TABLE writable_probe (id INTEGER)"))
            session.execute(sa.text("DROP TABLE writable_probe"))
    except DatabaseUnavailableError as error:
        if "READONLY" in str(error):
            raise DatabaseReadOnlyError from error
        raise


def upgrade(engine: Engine, *, backup_folder: Path | None) -> str:
    """Bring the database to our schema and return its revision.

    Everything happens in one transaction under a lock, so that two processes upgrade once, and a
    step that fails leaves what was there. A SQLite file that holds something is backed up before.

    Raises:
        SchemaMismatchError: the database is newer than this software.
        DatabaseUnavailableError: the database did not answer, or took no step.
    """
    _make_folder(engine)
    return _migrate(engine, _head(), backup_folder=backup_folder)


def downgrade(engine: Engine, revision: str, *, backup_folder: Path | None) -> str:
    """Bring the database back to the schema of an earlier version and return its revision.

    What only the newer schema can hold is dropped; everything else stays, so that nothing that was
    received since the upgrade is lost. For the rest as ``upgrade``. The worker must not run.

    Raises:
        SchemaMismatchError: the database is newer than this software, or there is none.
        DatabaseUnavailableError: the database did not answer, or took no step.
    """
    if _is_absent(engine):
        raise SchemaMismatchError(found=None, expected=revision)
    return _migrate(engine, revision, backup_folder=backup_folder)


def _migrate(engine: Engine, revision: str, *, backup_folder: Path | None) -> str:
    with _plain_errors(), engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        found = _revision(connection)
        if found == revision:
            return revision
        if found is not None:
            _require_known(found, expected=revision)
            if backup_folder is not None and connection.dialect.name == "sqlite":
                backup(engine, backup_folder)
        from alembic import command  # noqa: PLC0415 - a quarter of a second, for an upgrade alone

        config = _alembic()
        config.attributes["connection"] = connection
        is_forward = found is None or found < revision  # their names are their numbers
        (command.upgrade if is_forward else command.downgrade)(config, revision)
    return revision


def _make_folder(engine: Engine) -> None:
    name = engine.url.database
    if engine.url.get_backend_name() == "sqlite" and name and not name.startswith("file:"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)


def backup(engine: Engine, folder: Path) -> Path:
    """Copy the database while it is in use, check the copy, and return its path.

    Raises:
        BackupUnsupportedError: the database is not SQLite.
        OSError: the folder cannot be written; nothing half-made is left under a final name.
    """
    if engine.dialect.name != "sqlite":
        raise BackupUnsupportedError(backend=engine.dialect.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = folder / f".{uuid.uuid4().hex}.part"
    beside.touch(mode=0o600, exist_ok=False)  # for our eyes, whatever umask the operator has
    try:
        stamp = _copy_sqlite(engine, beside)
        path = folder / f"boneage-{stamp}.sqlite"
        keep_durably(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _copy_sqlite(engine: Engine, beside: Path) -> str:
    """Fill ``beside`` and return a time stamp that sorts, in UTC."""
    lent = engine.raw_connection()
    target = sqlite3.connect(beside)
    try:
        source = lent.driver_connection
        if not isinstance(source, sqlite3.Connection):
            raise BackupUnsupportedError(backend=engine.dialect.name)
        source.backup(target)
        # one file, without the side files of WAL; the mode comes back when it is opened by us
        target.execute("PRAGMA journal_mode = DELETE").close()
        (verdict,) = target.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        (stamp,) = target.execute("SELECT strftime('%Y%m%dT%H%M%fZ', 'now')").fetchone()
    finally:
        target.close()
        lent.close()
    return str(stamp).replace(".", "")


def check(engine: Engine) -> tuple[str, ...]:
    """Return what the database finds wrong with itself; empty where nothing is."""
    with reading(engine) as session:
        if session.get_bind().dialect.name != "sqlite":
            session.execute(sa.select(1))
            return ()
        connection = session.connection()
        told = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        orphans = [
            f"row {row[1]} of {row[0]} points to a row of {row[2]} that is not there"
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
        ]
    return tuple(line for line in told if line != "ok") + tuple(orphans)


def _alembic() -> "AlembicConfig":
    from alembic.config import Config as AlembicConfig  # noqa: PLC0415 - see `upgrade`

    config = AlembicConfig()
    config.set_main_option("script_location", schemas.migrations.__path__[0])
    return config


def _revision(connection: Connection) -> str | None:
    """Return what Alembic wrote down, or nothing if it never did."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def revisions() -> tuple[str, ...]:
    """Return our steps, oldest first; each file ``vNNNN_name.py`` holds the step NNNN."""
    folder = Path(schemas.migrations.__path__[0]) / "versions"
    return tuple(sorted(path.name[1:5] for path in folder.glob("v*_*.py")))


def _head() -> str:
    steps = revisions()
    if not steps:
        raise SchemaMismatchError(found="no migrations", expected="an installed package")
    return steps[-1]


def _require_known(found: str, *, expected: str) -> None:
    if found not in revisions():
        raise SchemaMismatchError(found=found, expected=expected)


def _is_absent(engine: Engine) -> bool:
    path = engine.url.database
    return engine.dialect.name == "sqlite" and bool(path) and not Path(str(path)).exists()
