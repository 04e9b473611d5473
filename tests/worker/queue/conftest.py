from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from schemas.jobs import RetryPolicy
from tests.fakes import Clock
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

RETRY = RetryPolicy(
    attempts=3,
    first_delay=timedelta(seconds=5),
    factor=2,
    longest_delay=timedelta(seconds=8),
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(sqlite_url(tmp_path))
    upgrade(engine, backup_folder=None)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine, clock: Clock) -> JobQueue:
    return JobQueue(engine, now=clock, actor="test", release="r1", retry=RETRY)


@pytest.fixture
def outbox(engine: Engine, clock: Clock) -> Outbox:
    return Outbox(engine, now=clock, actor="test")
