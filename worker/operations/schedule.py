"""The periodic jobs: one process leads, however many run; every job may be run twice."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from schemas.errors import BoneAgeError
from worker.logs import log

#: who leads may be silent for so long before another takes over; a lead that changes hands too
#: often is harmless, one that lies with the dead for a minute is not
LEADER_LEASE = timedelta(seconds=10)
#: how soon it is noticed that somebody has set the clock back
WATCH_SECONDS = 2.0


class Leadership(Protocol):
    """The leader row in the database; ``worker.queue.leadership`` has it."""

    def hold(self, *, lease: timedelta) -> bool:
        """Take or renew the lead; return whether it is ours until the lease ends."""
        ...

    def give_up(self) -> None:
        """Let another lead at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicTask:
    """Something to be done every so often, by the leader."""

    name: str
    seconds: float
    work: Callable[[], int]  #: returns how many things it did
    is_due_at_start: bool = False  #: else for the first time after ``seconds``


class Schedule:
    """Runs the tasks of the leader; a task that fails is tried again at its next time."""

    def __init__(
        self,
        tasks: Sequence[PeriodicTask],
        *,
        leadership: Leadership,
        note: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        """``note(name, is_success=...)`` is told how each task ended; its own failure is logged."""
        self._tasks = tuple(tasks)
        self._leadership = leadership
        self._note = note

    def run(self, stop: threading.Event) -> None:
        """Run every task in its rhythm until ``stop`` is set."""
        scheduler = BackgroundScheduler(timezone=UTC)
        for task in self._tasks:
            scheduler.add_job(
                self.run_task,
                IntervalTrigger(seconds=task.seconds, timezone=UTC),
                args=(task,),
                id=task.name,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
                **({"next_run_time": datetime.now(UTC)} if task.is_due_at_start else {}),
            )
        scheduler.start()
        log.info("schedule.started", count=len(self._tasks))
        while not stop.wait(WATCH_SECONDS):
            self._forgive_clock(scheduler)
        scheduler.shutdown(wait=True)
        self._leadership.give_up()
        log.info("schedule.stopped")

    def _forgive_clock(self, scheduler: BackgroundScheduler) -> None:
        """Run at once what lies further ahead than its rhythm: the clock was set back.

        APScheduler goes by the time of day alone, and would do nothing for as long as that.
        """
        at = datetime.now(UTC)
        for task in self._tasks:
            job = scheduler.get_job(task.name)
            if job.next_run_time > at + timedelta(seconds=task.seconds + WATCH_SECONDS):
                log.warning("schedule.clock_set_back", name=task.name)
                job.modify(next_run_time=at)

    def run_task(self, task: PeriodicTask) -> None:
        """Do one task once, if we lead; whatever goes wrong is logged and ends here."""
        try:
            if not self._leadership.hold(lease=LEADER_LEASE):
                return
            count = task.work()
        except Exception as error:  # noqa: BLE001 - it must outlive a database that is away for a minute
            code = error.code if isinstance(error, BoneAgeError) else ""
            log.exception("schedule.failed", name=task.name, code=code)
            self._remember(task, is_success=False)
            return
        self._remember(task, is_success=True)
        if count:
            log.info("schedule.done", name=task.name, count=count)

    def _remember(self, task: PeriodicTask, *, is_success: bool) -> None:
        try:
            self._note(task.name, is_success=is_success)
        except BoneAgeError as error:
            log.warning("schedule.not_noted", name=task.name, code=error.code)
