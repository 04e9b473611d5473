"""What the figures say: does work go round, could an image that comes now be kept, is it right?

Health is a job that went round, not a port that is open: a worker whose queue stands still is not
healthy, however well it answers.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.config import StorageSection
from schemas.errors import BoneAgeError
from schemas.figures import Backlog, Snapshot
from schemas.jobs import JobState
from worker.health.constancy import Constancy
from worker.health.verdict import Check, spoken
from worker.queue.figures import Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The disk of the storage root, as `df` reckons it."""

    used_percent: float
    free_bytes: int

    @staticmethod
    def of(storage: StorageSection) -> "Disk":
        """Look at the disk.

        Raises:
            OSError: there is no storage root, or it cannot be reached.
        """
        usage = shutil.disk_usage(storage.root)
        return Disk(
            used_percent=100 * usage.used / (usage.used + usage.free), free_bytes=usage.free
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is looked at, and when work counts as standing still."""

    figures: Figures
    require_schema: Callable[[], None]
    storage: StorageSection
    stalled_after: timedelta
    constancy: Constancy

    def rounds(self, snapshot: Snapshot) -> tuple[Check, ...]:
        """Say of each leg whether work goes round on it."""
        reading_since = _oldest(snapshot.due, snapshot.jobs[JobState.RUNNING])
        delivering_since = snapshot.jobs[JobState.DELIVERING].oldest_at
        return (
            self._leg(
                "reading",
                snapshot.at,
                waits_since=reading_since,
                last_at=snapshot.last_result_at,
                mend="Look at the log of `infer`, and at `boneage jobs list --state queued`.",
            ),
            self._leg(
                "delivery",
                snapshot.at,
                waits_since=delivering_since,
                last_at=snapshot.last_delivered_at,
                mend="Look at `boneage peers echo`, and at `boneage jobs list --state delivering`.",
            ),
            self.constancy.check(snapshot.constancy, snapshot.at),
        )

    def readiness(self) -> tuple[Check, ...]:
        """Say whether an image that comes now could be kept, and would be read right."""
        database = self._database()
        if not database.is_ok:
            return (database, self._disk())
        try:
            rounds = self.figures.constancy_rounds()
        except BoneAgeError as error:
            return (Check(name="database", is_ok=False, message=str(error)), self._disk())
        return (database, self._disk(), self.constancy.value(rounds))

    def _leg(
        self,
        name: str,
        at: datetime,
        *,
        waits_since: datetime | None,
        last_at: datetime | None,
        mend: str,
    ) -> Check:
        if waits_since is None:
            return Check(name=name, is_ok=True, message="Nothing waits.")
        stands_since = max(waits_since, last_at) if last_at else waits_since
        still = at - stands_since
        if still <= self.stalled_after:
            return Check(name=name, is_ok=True, message="Work goes round.")
        message = f"Work waits, and nothing has gone round for {spoken(still)}. {mend}"
        return Check(name=name, is_ok=False, message=message)

    def _database(self) -> Check:
        try:
            self.require_schema()
        except BoneAgeError as error:
            return Check(name="database", is_ok=False, message=str(error))
        return Check(name="database", is_ok=True, message="It answers, and its schema is ours.")

    def _disk(self) -> Check:
        mark = self.storage.high_mark_percent
        try:
            used = Disk.of(self.storage).used_percent
        except OSError as error:
            message = f"The storage root cannot be reached ({error.strerror}). Look at its disk."
            return Check(name="disk", is_ok=False, message=message)
        if used < mark:
            return Check(name="disk", is_ok=True, message=f"{used:.0f} % used, of {mark:.0f} %.")
        message = f"{used:.0f} % used: from {mark:.0f} % on images are refused. Free space there."
        return Check(name="disk", is_ok=False, message=message)


def _oldest(*backlogs: Backlog) -> datetime | None:
    return min((one.oldest_at for one in backlogs if one.oldest_at is not None), default=None)
