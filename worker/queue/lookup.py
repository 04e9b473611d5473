"""The jobs, to be looked at: what a command needs that moves none, so that it starts fast."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Engine

from schemas.inquiries import JobFilter, ReceptionView
from schemas.jobs import JobEvent, JobState, JobView
from worker.queue import views
from worker.queue.database import reading


class JobLookup:
    """All that can be seen of jobs. It holds no session, so threads may share it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def job(self, job_id: int) -> JobView:
        """Return one job, or raise NoSuchJobError."""
        with reading(self._engine) as session:
            return views.job_view(session, job_id)

    def jobs(
        self,
        *,
        states: Collection[JobState] = (),
        since: datetime | None = None,
        study: str | None = None,
        calling_ae: str | None = None,
        limit: int = 100,
    ) -> list[JobView]:
        """Return the newest jobs that fit every filter given, newest first."""
        with reading(self._engine) as session:
            fits = JobFilter(states=tuple(states), since=since, study=study, calling_ae=calling_ae)
            return views.job_views(session, fits, limit=limit)

    def find(self, fits: JobFilter, *, limit: int) -> list[JobView]:
        """Return the newest jobs that fit, newest first."""
        with reading(self._engine) as session:
            return views.job_views(session, fits, limit=limit)

    def count(self, fits: JobFilter) -> int:
        """Return how many jobs fit."""
        with reading(self._engine) as session:
            return views.count_jobs(session, fits)

    def receptions(self, job_id: int) -> list[ReceptionView]:
        """Return every content that arrived for a job, oldest first, or raise NoSuchJobError."""
        with reading(self._engine) as session:
            return views.reception_views(session, job_id)

    def quarantined(self, job_ids: Collection[int]) -> set[int]:
        """Return which of these jobs have a content that was set aside."""
        with reading(self._engine) as session:
            return views.quarantined_jobs(session, job_ids)

    def events(self, job_id: int) -> list[JobEvent]:
        """Return the audit trail of one job, oldest first, or raise NoSuchJobError."""
        with reading(self._engine) as session:
            return views.events_of(session, job_id)

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state."""
        with reading(self._engine) as session:
            return views.counts_by_state(session)
