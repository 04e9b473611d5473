"""Counts and times over all jobs, for metrics, health and the status page. Reads only."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import sqrt
from statistics import fmean, median, variance
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.figures import (
    ArrivedJob,
    Backlog,
    ConstancyFigures,
    DestinationFigures,
    DriftFigures,
    EndingFigures,
    PeriodicFigures,
    ResultFigures,
    Snapshot,
)
from schemas.jobs import JobState, OutboxState, ReceptionState
from schemas.phantom import CONSTANCY_AE
from schemas.tables import (
    HAS_DIFFERENCE,
    IS_ENDING,
    Job,
    JobEventRow,
    OutboxRow,
    PeriodicRun,
    Reception,
    Result,
)
from worker.queue.constancy import newest_rounds
from worker.queue.database import reading, time_of
from worker.queue.echoes import last_echoes
from worker.queue.overdue import WAITS_SINCE, count_overdue
from worker.queue.totals import AT_REST, RestingTotals

#: the newest estimates of one sex that the drift is reckoned from: enough that one child of another
#: hospital does not move the mean by more than its error, few enough to follow a change in weeks
DRIFT_WINDOW = 100
#: the estimates before those, which they are compared with
FORMER_WINDOW = 400
#: fewer than this of either say nothing
_LEAST_COMPARED = 30

#: how long one that was set aside is spoken of
QUARANTINE_WINDOW = timedelta(days=7)

#: states from which a job still moves by itself
_UNDER_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING)
_OWED = (OutboxState.WAITING, OutboxState.SENDING)


class Figures:
    """What there is to count. It holds no session, so threads may share it."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now
        self._resting = RestingTotals()

    def snapshot(self) -> Snapshot:
        """Return everything at this moment.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        with reading(self._engine) as session:
            at = time_of(session, self._now)
            destinations = _destinations(session)
            return Snapshot(
                at=at,
                jobs=_backlogs(session, self._resting.count(session)),
                due=_backlog(session, sa.and_(_IS_QUEUED, Job.run_after <= at)),
                last_result_at=_last_result_at(session),
                last_delivered_at=max(
                    (one.last_taken_at for one in destinations if one.last_taken_at is not None),
                    default=None,
                ),
                destinations=destinations,
                drift=tuple(_drift(session)),
                periodic=_periodic(session),
                constancy=newest_rounds(session, at=at),
                echoes=last_echoes(session),
                overdue=count_overdue(session),
                quarantined=_quarantined(session, since=at - QUARANTINE_WINDOW),
            )

    def constancy_rounds(self) -> tuple[ConstancyFigures, ...]:
        """Return the newest rounds of the constancy phantom, newest first.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        with reading(self._engine) as session:
            return newest_rounds(session, at=time_of(session, self._now))

    def results_after(self, result_id: int, *, limit: int) -> list[ResultFigures]:
        """Return the results with higher numbers, in order."""
        with reading(self._engine) as session:
            rows = session.execute(
                sa.select(*_COUNTED).where(Result.id > result_id).order_by(Result.id).limit(limit)
            )
            return [_result_figures(row) for row in rows]

    def endings_after(self, event_id: int, *, limit: int) -> list[EndingFigures]:
        """Return what was ignored or failed in events with higher numbers, in order.

        Their reasons are codes; what an operator wrote is in none of them.
        """
        with reading(self._engine) as session:
            rows = session.execute(
                sa.select(JobEventRow.id, JobEventRow.event, JobEventRow.reason)
                .where(JobEventRow.id > event_id, sa.text(IS_ENDING))
                .order_by(JobEventRow.id)
                .limit(limit)
            )
            return [
                EndingFigures(event_id=row.id, event=row.event, reason=row.reason) for row in rows
            ]

    def arrived_since(self, at: datetime) -> list[ArrivedJob]:
        """Return every job whose image came since ``at``, oldest first; the phantom apart."""
        with reading(self._engine) as session:
            rows = session.execute(
                sa.select(Job.received_at, Job.state, Job.outcome)
                .join(Reception, Reception.id == Job.reception_id)
                .where(Job.received_at >= at, Reception.calling_ae != CONSTANCY_AE)
                .order_by(Job.received_at)
            )
            return [
                ArrivedJob(received_at=row.received_at, state=row.state, outcome=row.outcome)
                for row in rows
            ]


_IS_QUEUED = Job.state == JobState.QUEUED


def _backlogs(session: Session, resting: Mapping[JobState, int]) -> dict[JobState, Backlog]:
    """Return every state; the oldest only of what still moves, for the rest may lie for ever."""
    counts = session.execute(
        sa.select(Job.state, sa.func.count())
        .where(Job.state.in_(set(JobState) - {*_UNDER_WAY, *AT_REST}))
        .group_by(Job.state)
    ).all()
    found = {state: Backlog() for state in JobState}
    found |= {state: Backlog(count=count) for state, count in (*counts, *resting.items())}
    return found | {state: _backlog(session, Job.state == state) for state in _UNDER_WAY}


def _last_result_at(session: Session) -> datetime | None:
    return session.scalar(sa.select(Result.created_at).order_by(Result.id.desc()).limit(1))


def _backlog(session: Session, fits: sa.ColumnElement[bool]) -> Backlog:
    waiting = sa.select(WAITS_SINCE.label("since")).where(fits).subquery()
    count, oldest_at = session.execute(
        sa.select(sa.func.count(), sa.func.min(waiting.c.since)).select_from(waiting)
    ).one()
    return Backlog(count=count, oldest_at=oldest_at)


def _destinations(session: Session) -> tuple[DestinationFigures, ...]:
    """Return every destination that was ever owed anything; by indexes alone."""
    found: list[DestinationFigures] = []
    first = sa.select(sa.func.min(OutboxRow.destination))
    name = session.scalar(first)
    while name is not None:
        found.append(_destination(session, name))
        name = session.scalar(first.where(OutboxRow.destination > name))
    return tuple(found)


def _destination(session: Session, name: str) -> DestinationFigures:
    is_owed = OutboxRow.state.in_(_OWED)
    has_failed = sa.and_(OutboxRow.state == OutboxState.WAITING, OutboxRow.error.is_not(None))
    open_rows = session.execute(
        sa.select(
            sa.func.count().filter(is_owed).label("owed"),
            sa.func.min(OutboxRow.owed_since).filter(is_owed).label("oldest_at"),
            sa.func.count().filter(OutboxRow.state == OutboxState.FAILED).label("failed"),
            # when the next vain try is repeated: later than any object that was taken before it
            sa.func.max(OutboxRow.run_after).filter(has_failed).label("tried_again_at"),
        ).where(OutboxRow.destination == name, OutboxRow.state.in_((*_OWED, OutboxState.FAILED)))
    ).one()
    taken_at = session.scalar(
        sa.select(sa.func.max(OutboxRow.sent_at)).where(OutboxRow.destination == name)
    )
    tried_again_at = open_rows.tried_again_at
    return DestinationFigures(
        destination=name,
        waiting=Backlog(count=open_rows.owed, oldest_at=open_rows.oldest_at),
        failed=open_rows.failed,
        last_taken_at=taken_at,
        has_refused=tried_again_at is not None and (taken_at is None or taken_at < tried_again_at),
    )


def _drift(session: Session) -> Iterable[DriftFigures]:
    difference = Result.bone_age_months - Result.chronological_age_months
    for sex in ("F", "M"):
        newest = session.scalars(
            sa.select(difference)
            .where(Result.sex == sex, Result.is_phantom.is_(False), sa.text(HAS_DIFFERENCE))
            .order_by(Result.id.desc())
            .limit(DRIFT_WINDOW + FORMER_WINDOW)
        ).all()
        known = [one for one in newest if one is not None]
        months, former = known[:DRIFT_WINDOW], known[DRIFT_WINDOW:]
        if not months:
            continue
        is_comparable = min(len(months), len(former)) >= _LEAST_COMPARED
        yield DriftFigures(
            sex=sex,
            count=len(months),
            mean_months=fmean(months),
            median_months=median(months),
            former_mean_months=fmean(former) if is_comparable else None,
            standard_error_months=_error_of_difference(months, former) if is_comparable else None,
        )


def _error_of_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the standard error of the difference between two means (Welch)."""
    return sqrt(variance(one) / len(one) + variance(other) / len(other))


def _periodic(session: Session) -> tuple[PeriodicFigures, ...]:
    rows = session.scalars(sa.select(PeriodicRun).order_by(PeriodicRun.name))
    return tuple(
        PeriodicFigures(name=row.name, succeeded_at=row.succeeded_at, failed_at=row.failed_at)
        for row in rows
    )


def _quarantined(session: Session, *, since: datetime) -> int:
    # not as a parameter: only so is the index of these few rows seen to hold them all
    is_aside = sa.text(f"receptions.state = '{ReceptionState.QUARANTINED.value}'")
    count = sa.select(sa.func.count(Reception.id)).where(is_aside, Reception.received_at >= since)
    return session.scalar(count) or 0


#: what metrics need of a result; whole rows take three times as long
_COUNTED = (
    Result.id,
    Result.outcome,
    Result.reason,
    Result.release,
    Result.sex,
    Result.bone_age_months,
    Result.chronological_age_months,
    Result.is_phantom,
    Result.timings_ms,
)


def _result_figures(row: sa.Row[*tuple[Any, ...]]) -> ResultFigures:
    bone_age, age = row.bone_age_months, row.chronological_age_months
    return ResultFigures(
        result_id=row.id,
        outcome=row.outcome,
        reason=row.reason,
        release=row.release,
        sex=row.sex,
        difference_months=None if bone_age is None or age is None else bone_age - age,
        is_phantom=row.is_phantom,
        timings_ms=json.loads(row.timings_ms),
    )
