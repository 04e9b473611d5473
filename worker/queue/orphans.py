"""Files below the storage root that no row names: found, and removed with an event."""

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.jobs import JobState
from schemas.tables import Job, Reception, Result
from worker.queue.database import reading
from worker.queue.ledger import Ledger, ledger
from worker.queue.retention import ACTOR

_RESTING = (JobState.DELIVERED, JobState.IGNORED, JobState.FAILED, JobState.CANCELLED)
_BATCH = 100  # files removed in one transaction


class Orphans:
    """Finds and removes what nothing points to."""

    def __init__(
        self,
        engine: Engine,
        *,
        root: Path,
        now: Callable[[], datetime],
        actor: str = ACTOR,
    ) -> None:
        self._engine = engine
        self._root = root
        self._now = now
        self._actor = actor

    def without_reception(self, spool_files: Sequence[str]) -> list[str]:
        """Return those files of the spool that no reception names."""
        with reading(self._engine) as session:
            known = set(session.scalars(sa.select(Reception.spool_file)))
        return [one for one in spool_files if one not in known]

    def without_result(self, folders: Sequence[str]) -> list[str]:
        """Return those result folders that no result names, and whose job is not at work."""
        with reading(self._engine) as session:
            return [one for one in folders if _is_unused(session, one)]

    def remove(self, paths: Sequence[str]) -> int:
        """Remove what is still named by nothing; return how many, which the trail says, too."""
        removed = 0
        for start in range(0, len(paths), _BATCH):
            with ledger(self._engine, now=self._now, actor=self._actor) as book:
                gone = [one for one in paths[start : start + _BATCH] if self._remove(book, one)]
                if gone:
                    book.note(
                        None,
                        event="orphans_removed",
                        reason="Nothing in the database pointed to them.",
                        detail={"count": len(gone), "folder": gone[0].partition("/")[0]},
                    )
                removed += len(gone)
        return removed

    def _remove(self, book: Ledger, relative: str) -> bool:
        """Remove one while nobody can begin to use it; see ``FileRetention`` for why inside."""
        path = self._root / relative
        if relative.startswith("results/"):
            if not _is_unused(book.session, relative, is_locked=True):
                return False
            shutil.rmtree(path, ignore_errors=True)
            return not path.exists()
        if book.session.get_bind().dialect.name == "postgresql":
            book.session.execute(sa.text("LOCK TABLE receptions IN SHARE ROW EXCLUSIVE MODE"))
        names_it = sa.select(Reception.id).where(Reception.spool_file == relative)
        if book.session.scalar(names_it) is not None:
            return False
        path.unlink(missing_ok=True)
        return True


def _is_unused(session: Session, folder: str, *, is_locked: bool = False) -> bool:
    _results, number, _revision = folder.split("/")
    if not number.isdigit():
        return False
    query = sa.select(Job).where(Job.id == int(number))
    job = session.scalars(query.with_for_update() if is_locked else query).one_or_none()
    if job is not None and job.state not in _RESTING:
        return False
    return session.scalar(sa.select(Result.id).where(Result.result_folder == folder)) is None
