"""An empty database of each kind, as in service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.worker.queue.postgresql import running_server
from worker.queue.database import open_engine, sqlite_url, upgrade


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """Give the URL of an empty SQLite database in ``folder``."""
    yield _upgraded(sqlite_url(folder))


@contextmanager
def postgresql(_folder: Path) -> Iterator[str]:
    """Give the URL of an empty database on a server of its own that syncs as in service.

    Not the one of the tests: there a function of theirs stands before the server's clock.
    """
    with running_server(is_durable=True) as server, server.other_database() as url:
        yield _upgraded(url)


def _upgraded(url: str) -> str:
    engine = open_engine(url)
    upgrade(engine, backup_folder=None)
    engine.dispose()
    return url


DATABASES = {"SQLite": sqlite, "PostgreSQL": postgresql}
