"""How many jobs have come to rest: counted once, then carried on by the events since.

Millions of jobs may have been delivered; to count them at each scrape would take ever longer.
"""

import threading
import time
from collections import Counter

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.jobs import JobState
from schemas.tables import Job, JobEventRow, TombstoneRow
from worker.queue.lateness import LATE_NUMBERS

#: the states in which a job may lie for ever without anybody having to do anything
AT_REST = (JobState.DELIVERED, JobState.IGNORED)
#: a restored database may go back unseen: all is counted anew now and then
_RECOUNT_SECONDS = 900.0


class RestingTotals:
    """The counts of one database, brought up to date at each call. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[JobState] = Counter()  # after the event ``_upto``
        self._upto = 0
        self._tombstone = 0
        self._recount_at = 0.0  # of ``time.monotonic``

    def count(self, session: Session) -> dict[JobState, int]:
        """Return how many jobs are in each state at rest."""
        with self._lock:
            newest = session.scalar(sa.select(sa.func.max(JobEventRow.id))) or 0
            settled = max(0, newest - LATE_NUMBERS)
            tombstone = session.scalar(sa.select(sa.func.max(TombstoneRow.id))) or 0
            is_known = settled >= self._upto and tombstone == self._tombstone
            if not is_known or time.monotonic() >= self._recount_at:
                self._count_anew(session, settled)
                self._tombstone = tombstone
                self._recount_at = time.monotonic() + _RECOUNT_SECONDS
            since = _moves_after(session, self._upto, settled=settled)
            for state in AT_REST:
                self._counts[state] += since[state, True]
            self._upto = settled
            return {state: self._counts[state] + since[state, False] for state in AT_REST}

    def _count_anew(self, session: Session, settled: int) -> None:
        """Count the jobs now, less what moved after ``settled``; in one statement, for one moment.

        Between two, on PostgreSQL, a job could move and be counted twice.
        """
        is_later = JobEventRow.id > settled
        parts = [
            sa.select(Job.state.label("state"), sa.func.count().label("number"))
            .where(Job.state.in_(AT_REST))
            .group_by(Job.state),
            sa.select(JobEventRow.after, -sa.func.count())
            .where(is_later, JobEventRow.after.in_(AT_REST))
            .group_by(JobEventRow.after),
            sa.select(JobEventRow.before, sa.func.count())
            .where(is_later, JobEventRow.before.in_(AT_REST))
            .group_by(JobEventRow.before),
        ]
        self._counts = Counter()
        for row in session.execute(sa.union_all(*parts)):
            self._counts[row.state] += row.number
        self._upto = settled


def _moves_after(
    session: Session, event_id: int, *, settled: int
) -> Counter[tuple[JobState | None, bool]]:
    """Return by how many each state grew since an event; apart, what is settled and what is not."""
    is_settled = (JobEventRow.id <= settled).label("is_settled")
    rows = session.execute(
        sa.select(is_settled, JobEventRow.before, JobEventRow.after, sa.func.count())
        .where(
            JobEventRow.id > event_id,
            sa.or_(JobEventRow.before.in_(AT_REST), JobEventRow.after.in_(AT_REST)),
        )
        .group_by(is_settled, JobEventRow.before, JobEventRow.after)
    )
    grown: Counter[tuple[JobState | None, bool]] = Counter()
    for is_old, before, after, number in rows:
        grown[before, bool(is_old)] -= number
        grown[after, bool(is_old)] += number
    return grown
