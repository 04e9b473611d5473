"""How many jobs have come to rest: counted once, then carried on by the events since.

Millions of jobs may have been delivered; to count them at each scrape would take ever longer. The
schedule counts them every few minutes and writes that down, so that a process that has just started
need not.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.jobs import JobState
from schemas.tables import Job, JobEventRow, RestingTotalsRow, TombstoneRow
from worker.queue.database import reading, time_of, writing
from worker.queue.dialect import insert_or_ignore
from worker.queue.lateness import LATE_NUMBERS

#: the states in which a job may lie for ever without anybody having to do anything
AT_REST = (JobState.DELIVERED, JobState.IGNORED)
#: a restored database may go back unseen: what is known is read, or counted, anew now and then
_RENEW_SECONDS = 900.0
#: a count so many events back is not carried on: to count anew takes no longer
_FAR_BACK = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """How many jobs were in each state at rest after an event that is settled."""

    jobs: Mapping[JobState, int]
    event_id: int
    tombstone_id: int  #: of the last that retention had put; after another one it is void


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """How far the trail reaches now."""

    settled: int  #: no event up to this number is still to come
    tombstone_id: int

    def continues(self, known: _Count) -> bool:
        """Say whether events alone lead from a count to this moment."""
        behind = self.settled - known.event_id
        return 0 <= behind <= _FAR_BACK and known.tombstone_id == self.tombstone_id


class RestingTotals:
    """The counts of one database, brought up to date at each call. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: _Count | None = None
        self._renew_at = 0.0  # of ``time.monotonic``

    def count(self, session: Session) -> dict[JobState, int]:
        """Return how many jobs are in each state at rest."""
        with self._lock:
            moment, known = _moment(session), self._known
            is_old = time.monotonic() >= self._renew_at
            if known is None or is_old or not moment.continues(known):
                known = _remembered(session, moment) or _counted(session, moment)
                self._renew_at = time.monotonic() + _RENEW_SECONDS
            since = _moves_after(session, known.event_id, settled=moment.settled)
            jobs = {state: known.jobs[state] + since[state, True] for state in AT_REST}
            self._known = _Count(
                jobs=jobs, event_id=moment.settled, tombstone_id=moment.tombstone_id
            )
            return {state: jobs[state] + since[state, False] for state in AT_REST}


def remember_totals(engine: Engine, *, now: Callable[[], datetime]) -> None:
    """Count the jobs at rest, and write it down for those who start."""
    with reading(engine) as session:
        found = _counted(session, _moment(session))
    row: dict[str, int | datetime] = {
        "event_id": found.event_id,
        "tombstone_id": found.tombstone_id,
        **{state.value: found.jobs[state] for state in AT_REST},
    }
    with writing(engine) as session:
        row["counted_at"] = time_of(session, now)
        session.execute(insert_or_ignore(session, RestingTotalsRow).values(id=1, **row))
        session.execute(sa.update(RestingTotalsRow).values(row))


def _moment(session: Session) -> _Moment:
    newest = session.scalar(sa.select(sa.func.max(JobEventRow.id))) or 0
    tombstone_id = session.scalar(sa.select(sa.func.max(TombstoneRow.id))) or 0
    return _Moment(settled=max(0, newest - LATE_NUMBERS), tombstone_id=tombstone_id)


def _remembered(session: Session, moment: _Moment) -> _Count | None:
    """Return what the schedule wrote down, if events alone lead from there to this moment."""
    row = session.scalar(sa.select(RestingTotalsRow))
    if row is None:
        return None
    known = _Count(
        jobs={JobState.DELIVERED: row.delivered, JobState.IGNORED: row.ignored},
        event_id=row.event_id,
        tombstone_id=row.tombstone_id,
    )
    return known if moment.continues(known) else None


def _counted(session: Session, moment: _Moment) -> _Count:
    """Count the jobs now, less what moved after what is settled; in one statement, for one moment.

    Between two, on PostgreSQL, a job could move and be counted twice.
    """
    is_later = JobEventRow.id > moment.settled
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
    jobs = Counter(dict.fromkeys(AT_REST, 0))
    for row in session.execute(sa.union_all(*parts)):
        jobs[row.state] += row.number
    return _Count(jobs=jobs, event_id=moment.settled, tombstone_id=moment.tombstone_id)


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
