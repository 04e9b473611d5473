"""A real PostgreSQL for the tests: an unprivileged server in a folder of its own, without TCP."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from schemas.tables import Table
from tests.fakes import Clock
from tests.orthanc import REQUIRE_PEERS
from worker.queue.database import open_engine, upgrade

DATABASE = "boneage"

#: The server's clock, moved by a test. Names are looked up here before PostgreSQL's own; the
#: product calls clock_timestamp() and knows nothing of this.
_MOVED_CLOCK = """
CREATE SCHEMA moved;
CREATE TABLE moved.clock (at timestamptz NOT NULL);
CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
  AS 'SELECT at FROM moved.clock';
INSERT INTO moved.clock VALUES (now());
ALTER DATABASE boneage SET search_path = public, moved, pg_catalog;
"""


class ServerClock(Clock):
    """A clock that takes the server's along."""

    def __init__(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        super().__init__()
        self._connection = connection
        self._tell(self())

    def _step(self, step: timedelta) -> datetime:
        moved = super()._step(step)
        self._tell(moved)
        return moved

    def _tell(self, now: datetime) -> None:
        self._connection.execute("UPDATE moved.clock SET at = %s", (now,))


class Server:
    """One running server with one database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        with self.connect(DATABASE) as connection:
            connection.execute(_MOVED_CLOCK)
        engine = open_engine(self.url)
        upgrade(engine, backup_folder=None)
        engine.dispose()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://boneage@/{DATABASE}?host={self._folder}"

    @contextmanager
    def emptied(self) -> Iterator[ServerClock]:
        """Empty every table, and give the clock of the server."""
        tables = ", ".join(name for name in Table.metadata.tables)
        with self.connect(DATABASE) as connection:
            connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")
            yield ServerClock(connection)

    @contextmanager
    def other_database(self) -> Iterator[str]:
        """The URL of a database in which there is nothing."""
        with self.connect("postgres") as connection:
            connection.execute("CREATE DATABASE other")
            try:
                yield self.url.replace(f"/{DATABASE}?", "/other?")
            finally:
                connection.execute("DROP DATABASE other WITH (FORCE)")

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        conninfo = f"host={self._folder} user=boneage dbname={database}"
        return psycopg.connect(conninfo, autocommit=True)


@contextmanager
def running_server(*, is_durable: bool = False) -> Iterator[Server]:
    """Start a server and stop it again; skip where PostgreSQL is not installed.

    Unless it is to be durable it syncs nothing: the folder is thrown away.
    """
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="boneage-pg-", dir="/tmp"))
    user = _unprivileged_user()
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    data, log = folder / "data", folder / "log"
    try:
        _run([programs / "initdb", "-D", data, "-U", "boneage", "-A", "trust", "-N"], user)
        options = f"-k {folder} -c listen_addresses="
        if not is_durable:
            options += " -c fsync=off -c full_page_writes=off"
        _run([programs / "pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options], user)
        try:
            yield Server(folder)
        finally:
            _run([programs / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data], user)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if found:
        return found[-1].parent
    reason = "PostgreSQL (Debian package postgresql) is not installed"
    if os.environ.get(REQUIRE_PEERS):
        pytest.fail(reason)
    pytest.skip(reason)


def _unprivileged_user() -> str | None:
    """PostgreSQL does not run as root; its package brings a user who may."""
    return "postgres" if os.geteuid() == 0 else None


def _run(command: list[str | Path], user: str | None) -> None:
    subprocess.run(
        command,
        check=True,
        user=user,
        extra_groups=[] if user else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
