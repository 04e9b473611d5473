"""What the schedule did last: one row for each of its jobs, so that silence can be seen."""

from collections.abc import Callable, Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.phantom import device_of_task, task_of_device
from schemas.tables import PeriodicRun
from worker.queue.database import time_of, writing
from worker.queue.dialect import insert_or_ignore


class PeriodicRuns:
    """The notes of the schedule about itself."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now

    def note(self, name: str, *, is_success: bool) -> None:
        """Write down that the job ``name`` has just ended, well or not."""
        with writing(self._engine) as session:
            at = time_of(session, self._now)
            session.execute(insert_or_ignore(session, PeriodicRun).values(name=name))
            ended = {"succeeded_at": at} if is_success else {"failed_at": at}
            session.execute(sa.update(PeriodicRun).where(PeriodicRun.name == name).values(ended))

    def forget_devices_but(self, devices: Collection[str]) -> None:
        """Forget what a device made of the phantom that the settings no longer name."""
        kept = {task_of_device(one) for one in devices}
        with writing(self._engine) as session:
            names = session.scalars(sa.select(PeriodicRun.name)).all()
            gone = [one for one in names if device_of_task(one) is not None and one not in kept]
            session.execute(sa.delete(PeriodicRun).where(PeriodicRun.name.in_(gone)))
