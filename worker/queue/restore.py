"""Put a back-up in the place of a SQLite database, whatever state that is in."""

import shutil
import sqlite3
import uuid
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from schemas.errors import (
    BackupUnsupportedError,
    BackupUnusableError,
    DatabaseUnavailableError,
)
from worker.files import keep_durably, sync_folder
from worker.queue.database import BUSY_MILLISECONDS

_SIDE_FILES = ("-wal", "-shm")
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def restore(engine: Engine, backup: Path, *, set_aside: Path) -> Path | None:
    """Replace the database by ``backup`` and return where the old one lies; None: there was none.

    A sound database is replaced in one transaction, also while the worker runs: who holds a claim
    finds that it is lost, and goes on. A damaged one is moved away whole; then the worker must
    not run, for it would go on writing to the old file.

    Raises:
        BackupUnsupportedError: the database is not SQLite.
        BackupUnusableError: the back-up is damaged or of another version; nothing was changed.
        DatabaseUnavailableError: a writer did not let go in time; nothing was changed.
        OSError: the disk refused; the old database still stands, or lies in ``set_aside``.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        raise BackupUnsupportedError(backend=engine.dialect.name)
    _require_sound(backup)
    path = Path(engine.url.database)
    engine.dispose()
    old = _copy_aside(path, set_aside)
    try:
        _replace_content(path, backup)
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            name = getattr(error, "sqlite_errorname", None) or type(error).__name__
            raise DatabaseUnavailableError(found=name) from error
        _replace_file(path, backup)
    return old


def _require_sound(backup: Path) -> None:
    """Look at the file without changing it: its pages, then its schema."""
    if not backup.is_file():
        raise BackupUnusableError(found="there is no such file")
    try:
        with closing(sqlite3.connect(f"{backup.resolve().as_uri()}?mode=ro", uri=True)) as copy:
            (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
            found = copy.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.DatabaseError as error:
        raise BackupUnusableError(found=f"it is no database of ours ({error})") from error
    if verdict != "ok":
        raise BackupUnusableError(found="it is damaged")
    if len(found) != 1:
        raise BackupUnusableError(found="it does not say its version")


def _copy_aside(path: Path, folder: Path) -> Path | None:
    """Keep the files of the old database, byte by byte: damaged ones are evidence."""
    if not path.exists():
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y%m%dT%H%M%S")  # noqa: DTZ006 - a name
    old = folder / f"replaced-{stamp}-{uuid.uuid4().hex[:8]}.sqlite"
    for suffix in ("", *_SIDE_FILES):
        with suppress(FileNotFoundError):  # a side file goes when its last reader does
            shutil.copy2(f"{path}{suffix}", f"{old}{suffix}")
    sync_folder(folder)
    return old


def _replace_content(path: Path, backup: Path) -> None:
    """Copy every page in one transaction of SQLite's own; others wait, then see the new content."""
    seconds = BUSY_MILLISECONDS / 1000
    with (
        closing(sqlite3.connect(backup)) as source,
        closing(sqlite3.connect(path, timeout=seconds)) as target,
    ):
        target.execute("PRAGMA synchronous = FULL").close()
        source.backup(target)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def _replace_file(path: Path, backup: Path) -> None:
    beside = path.with_name(f".{uuid.uuid4().hex}.part")
    beside.touch(mode=0o600, exist_ok=False)
    shutil.copyfile(backup, beside)
    for suffix in _SIDE_FILES:  # they belong to the old file, and would spoil the new one
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    keep_durably(beside, path)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith(_DAMAGED)
