from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import Clock, FakePacs
from tests.worker.delivery.owing import Owing
from worker.queue.database import open_engine, sqlite_url, upgrade


@pytest.fixture
def owing(tmp_path: Path) -> Iterator[Owing]:
    engine = open_engine(sqlite_url(tmp_path))
    upgrade(engine, backup_folder=None)
    yield Owing(root=tmp_path, engine=engine, clock=Clock())
    engine.dispose()


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs() as running:
        yield running
