"""Back-ups by the clock: make one when the newest is old enough, keep the newest few."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

from worker.queue.database import backup

_PATTERN = "boneage-*.sqlite"


def back_up_when_due(
    engine: Engine,
    folder: Path,
    *,
    every: timedelta,
    keep: int,
    now: Callable[[], datetime],
) -> int:
    """Make a back-up if the newest is older than ``every``; return how many were made.

    The age is that of the files, so that a restart changes nothing. Only back-ups of ours are
    ever removed, and only after a newer one was made and checked. Nothing for PostgreSQL: its own
    tools back it up.

    Raises:
        OSError: the folder cannot be written; no back-up was removed.
    """
    if engine.dialect.name != "sqlite":
        return 0
    newest = max((_made_at(path) for path in folder.glob(_PATTERN)), default=None)
    if newest is not None and timedelta() <= now() - newest < every:
        return 0
    backup(engine, folder)
    for old in sorted(folder.glob(_PATTERN), key=_made_at, reverse=True)[keep:]:
        old.unlink()
    return 1


def _made_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
