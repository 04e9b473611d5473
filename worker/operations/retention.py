"""One round of retention: files, then orphans, then rows; counted, logged and audited."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas.config import RetentionSection
from schemas.retention import RetentionPolicy, RetentionReport
from worker.logs import log
from worker.queue.retention import FileRetention
from worker.queue.tombstones import RecordRetention

if TYPE_CHECKING:
    from worker.queue.orphans import Orphans

#: a result folder that no row names is the half of an attempt that ended; none takes a day
HALF_RESULT_AGE: Final = timedelta(days=1)


def policy_of(section: RetentionSection) -> RetentionPolicy:
    """Return the periods of the settings; 0 is for ever."""
    return RetentionPolicy(
        images=_period(section.images_days),
        ignored=_period(section.ignored_days),
        records=_period(section.records_days),
    )


def _period(days: float) -> timedelta | None:
    return timedelta(days=days) if days else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRound:
    """Everything that a round of retention works with."""

    files: FileRetention
    records: RecordRetention
    orphans: "Orphans"
    root: Path
    policy: RetentionPolicy
    key: Callable[[], bytes]  #: of the seals

    def preview(self) -> RetentionReport:
        """Return what would be removed now; changes nothing."""
        due = self.files.due()
        jobs, events = self.records.due()
        return RetentionReport(
            jobs=len(due),
            files=sum(len(one.paths) for one in due),
            size_bytes=sum(one.size_bytes for one in due),
            records_of_jobs=jobs,
            events=events,
            orphan_files=len(self._old_spool_orphans()),
            orphan_folders=len(self._old_result_orphans()),
            held=self.files.held(),
        )

    def run(self) -> RetentionReport:
        """Remove what is due, each with its event; return what was removed."""
        removed, failed = self.files.remove(self.files.due())
        files = self.orphans.remove(self._old_spool_orphans())
        folders = self.orphans.remove(self._old_result_orphans())
        jobs, events = self.records.remove(key=self.key()) if self.policy.records else (0, 0)
        report = RetentionReport(
            jobs=len(removed),
            files=sum(len(one.paths) for one in removed),
            size_bytes=sum(one.size_bytes for one in removed),
            records_of_jobs=jobs,
            events=events,
            orphan_files=files,
            orphan_folders=folders,
            failed=failed,
            held=self.files.held(),
        )
        if removed or files or folders or jobs or events:
            log.info("retention.done", count=len(removed), size_bytes=report.size_bytes)
        return report

    def _old_spool_orphans(self) -> list[str]:
        """Return files that no row names, and that could not be taken in for a whole period."""
        if self.policy.images is None:
            return []
        paths = self.root.glob("spool/??/*.dcm")
        old = _older(self.root, list(paths), max(self.policy.images, HALF_RESULT_AGE))
        return self.orphans.without_reception(old)

    def _old_result_orphans(self) -> list[str]:
        paths = [path for path in self.root.glob("results/*/*") if path.is_dir()]
        return self.orphans.without_result(_older(self.root, paths, HALF_RESULT_AGE))


def _older(root: Path, paths: list[Path], age: timedelta) -> list[str]:
    """Return those that nobody has written to for so long, relative to the storage root."""
    before = time.time() - age.total_seconds()
    found = []
    for path in paths:
        try:
            if path.stat().st_mtime < before:
                found.append(path.relative_to(root).as_posix())
        except FileNotFoundError:  # it went meanwhile
            continue
    return found
