from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from worker.logs import configure_logging
from worker.queue.database import open_engine, sqlite_url, upgrade


@pytest.fixture(autouse=True)
def strict_log() -> None:
    """Every test fails at a log key that is not on the list."""
    configure_logging(level="debug", strict=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty SQLite database with our schema."""
    engine = open_engine(sqlite_url(tmp_path))
    upgrade(engine, backup_folder=None)
    yield engine
    engine.dispose()
