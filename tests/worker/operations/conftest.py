from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from worker.queue.database import open_engine, sqlite_url, upgrade


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(sqlite_url(tmp_path))
    upgrade(engine, backup_folder=None)
    yield engine
    engine.dispose()
