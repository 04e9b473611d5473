import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.fakes import Clock
from tests.worker.queue.makers import RETRY
from tests.worker.queue.postgresql import Server, running_server
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox


@dataclass(frozen=True, kw_only=True)
class Database:
    """An empty database with our schema, and the clock that counts there."""

    url: str
    clock: Clock


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    engine = open_engine(sqlite_url(folder))
    upgrade(engine, backup_folder=None)
    engine.dispose()
    return folder / "boneage.sqlite"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, empty_sqlite: Path
) -> Iterator[Database]:
    """Every test that uses it, directly or not, runs on both."""
    if request.param == "sqlite":
        shutil.copy(empty_sqlite, tmp_path)
        yield Database(url=sqlite_url(tmp_path), clock=Clock())
        return
    server: Server = request.getfixturevalue("server")
    with server.emptied() as clock:
        yield Database(url=server.url, clock=clock)


@pytest.fixture
def clock(database: Database) -> Clock:
    return database.clock


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    engine = open_engine(database.url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine, clock: Clock) -> JobQueue:
    return JobQueue(engine, now=clock, actor="test", release="r1", retry=RETRY)


@pytest.fixture
def outbox(engine: Engine, clock: Clock) -> Outbox:
    return Outbox(engine, now=clock, actor="test")


@pytest.fixture
def queue_of_next_release(engine: Engine, clock: Clock) -> JobQueue:
    return JobQueue(engine, now=clock, actor="test", release="r2", retry=RETRY)
