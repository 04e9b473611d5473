"""The database: where it lies, and that it has our schema."""

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.config import Config

if TYPE_CHECKING:
    from sqlalchemy import Engine


def database_url(config: Config) -> str:
    """Return the configured URL, or that of SQLite in the storage root."""
    from worker.queue.database import sqlite_url

    return config.database.url or sqlite_url(config.storage.root)


def backup_folder(config: Config) -> Path:
    """Return where back-ups of a SQLite database lie."""
    return config.storage.root / "backups"


def unchecked_engine(config: Config) -> "Engine":
    """Return an engine whose schema may be anything; for `boneage db`."""
    from worker.queue.database import open_engine

    return open_engine(database_url(config))


def engine(config: Config) -> "Engine":
    """Return an engine whose database has our schema.

    Raises:
        SchemaMismatchError: it has not; the message says what to run.
    """
    from worker.queue.database import require_current_schema

    opened = unchecked_engine(config)
    require_current_schema(opened)
    return opened


def prepare_database(config: Config) -> None:
    """Upgrade a SQLite database, after a back-up; require the right schema of any other.

    Raises:
        SchemaMismatchError: the database is newer, or is not SQLite and needs an upgrade.
        DatabaseReadOnlyError, DatabaseCorruptError: nothing could be acknowledged.
    """
    from worker.queue.database import require_current_schema, require_writable, upgrade

    opened = unchecked_engine(config)
    try:
        if opened.dialect.name == "sqlite":
            require_writable(opened)
            upgrade(opened, backup_folder=backup_folder(config))
        require_current_schema(opened)
    finally:
        opened.dispose()
