"""The small chart of the status page: images of each day, as SVG without script or font."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from schemas.figures import ArrivedJob
from schemas.jobs import JobState, Outcome

DAYS: Final = 14

_WIDTH, _HEIGHT, _BASE = 560, 150, 128
_SLOT: Final = _WIDTH / DAYS
_GAP: Final = 6


class Fate(StrEnum):
    """What became of an image; also the class of its colour."""

    ESTIMATED = "estimated"
    REFUSED = "refused"
    IGNORED = "ignored"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One rectangle."""

    fate: Fate
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of the chart."""

    label: str  #: "21 Nov"
    centre: float
    has_label: bool
    title: str  #: in words, for whoever points at it or cannot see it
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Everything that the template draws."""

    days: tuple[Day, ...]
    most: int  #: images of the busiest day: the height of the chart
    total: int
    width: int = _WIDTH
    height: int = _HEIGHT
    base: int = _BASE


def first_day(now: datetime) -> datetime:
    """Return the midnight from which the chart counts, in the zone of ``now``."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=DAYS - 1)


def draw_days(arrived: Sequence[ArrivedJob], *, now: datetime) -> Chart:
    """Return the chart of the days up to that of ``now``, in its zone."""
    counts: dict[date, Counter[Fate]] = {
        (first_day(now) + timedelta(days=index)).date(): Counter() for index in range(DAYS)
    }
    for job in arrived:
        day = job.received_at.astimezone(now.tzinfo).date()
        if day in counts:
            counts[day][_fate(job)] += 1
    most = max(one.total() for one in counts.values())
    days = tuple(
        _day(day, count, index=index, most=most)
        for index, (day, count) in enumerate(counts.items())
    )
    return Chart(days=days, most=most, total=sum(one.total() for one in counts.values()))


def _day(day: date, count: Counter[Fate], *, index: int, most: int) -> Day:
    bars: list[Bar] = []
    foot = float(_BASE)
    for fate in Fate:
        if count[fate]:
            height = count[fate] / most * (_BASE - 14)
            foot -= height
            left = index * _SLOT + _GAP / 2
            bars.append(Bar(fate=fate, left=left, top=foot, width=_SLOT - _GAP, height=height))
    told = ", ".join(f"{count[fate]} {fate.value}" for fate in Fate if count[fate]) or "none"
    return Day(
        label=f"{day.day} {day:%b}",
        centre=(index + 0.5) * _SLOT,
        has_label=(DAYS - 1 - index) % 3 == 0,
        title=f"{day.isoformat()}: {told}",
        bars=tuple(bars),
    )


def _fate(job: ArrivedJob) -> Fate:
    if job.state is JobState.FAILED:
        return Fate.FAILED
    if job.state in (JobState.IGNORED, JobState.CANCELLED):
        return Fate.IGNORED
    if job.outcome is None:
        return Fate.OPEN
    return Fate.ESTIMATED if job.outcome is Outcome.ESTIMATED else Fate.REFUSED
