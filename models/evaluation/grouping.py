"""More columns of the annotation table in an evaluation: one of groups, one of chronological ages.

A growth clinic asks whether a network errs more in some disorder, and how far bones are ahead of
the calendar there; both stand in its own table, beside the bone age.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Outcomes, measure
from models.training.annotations import Annotation
from schemas.errors import UsageError
from schemas.releases import MetricRow

#: more are no groups, and no colours that can be told apart
MOST_GROUPS = 20
#: the group of children whose table is silent
UNKNOWN = "(empty)"
#: months; nobody who is older has a hand that grows, so the column holds something else
_OLDEST = 360.0


class GroupingError(UsageError):
    """A column of the table cannot be used as it was asked for."""

    code = "evaluate.column"

    def __init__(self, *, column: str, problem: str, mend: str) -> None:
        super().__init__(
            f"Column {column!r} of the annotation table {problem}. Nothing was evaluated. {mend}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """How far estimates are ahead of the calendar in a group, months."""

    group: str
    n: int  #: children whose chronological age is known
    mean_months: float  #: above 0: bones are older than the child
    sd_months: float  #: standard deviation between children; 0 for one alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """Children parted by a column."""

    column: str
    values: NDArray[np.str_]  #: ``(child,)``
    rows: tuple[MetricRow, ...]  #: the largest group first


@dataclass(frozen=True, slots=True, kw_only=True)
class ChronologicalAges:
    """Ages by the calendar, from a column."""

    column: str
    months: NDArray[np.float64]  #: ``(child,)``; NaN where the table is silent
    advances: tuple[Advance, ...]  #: of all children, then of each group


def read_groups(column: str, children: Sequence[Annotation]) -> NDArray[np.str_]:
    """Return what a column says of each child, ``(child,)``.

    Raises:
        GroupingError: it says too many different things.
    """
    values = np.array([one.columns[column] or UNKNOWN for one in children])
    sizes = set(values.tolist())
    if len(sizes) > MOST_GROUPS:
        raise GroupingError(
            column=column,
            problem=f"has {len(sizes)} different values, more than {MOST_GROUPS}",
            mend="Choose a column of few values, or write their groups into one of its own",
        )
    return values


def group_by(
    column: str, children: Sequence[Annotation], outcomes: Outcomes, *, resamples: int
) -> Grouping:
    """Return children parted by what a column says of them; raises as ``read_groups``."""
    values = read_groups(column, children)
    sizes = Counter(values.tolist())
    order = sorted(sizes, key=lambda name: (-sizes[name], name))
    rows = [measure(name, outcomes.where(values == name), resamples=resamples) for name in order]
    return Grouping(column=column, values=values, rows=tuple(rows))


def read_months(column: str, children: Sequence[Annotation]) -> NDArray[np.float64]:
    """Return the age in months that a column gives each child, ``(child,)``; NaN where it is empty.

    Raises:
        GroupingError: something in it is no age in months, or all of it is empty.
    """
    months = np.array([_months(column, one) for one in children])
    if np.isnan(months).all():
        raise GroupingError(
            column=column, problem="is empty for all these children", mend="Choose another column"
        )
    return months


def compare_with_calendar(
    column: str, children: Sequence[Annotation], outcomes: Outcomes, grouping: Grouping | None
) -> ChronologicalAges:
    """Return how far estimates are ahead of a column's ages; raises as ``read_months``."""
    months = read_months(column, children)
    everybody = np.ones(months.size, dtype=np.bool_)
    groups = [("all", everybody)]
    if grouping is not None:
        groups += [(row.group, grouping.values == row.group) for row in grouping.rows]
    ahead = outcomes.ages - months
    advances = [
        _advance(name, ahead[chosen & ~np.isnan(months)])
        for name, chosen in groups
        if (chosen & ~np.isnan(months)).any()
    ]
    return ChronologicalAges(column=column, months=months, advances=tuple(advances))


def _months(column: str, child: Annotation) -> float:
    text = child.columns[column]
    if not text:
        return math.nan
    try:
        months = float(text)
    except ValueError:
        months = math.nan
    if not 0 <= months <= _OLDEST:  # no number is outside, too
        raise GroupingError(
            column=column,
            problem=f"says {text!r} of image {child.image_id}, which is no age in months "
            f"(0 to {_OLDEST:.0f})",
            mend="Write months, or leave unknown ages empty",
        )
    return months


def _advance(group: str, ahead: NDArray[np.float64]) -> Advance:
    spread = float(ahead.std(ddof=1)) if ahead.size > 1 else 0.0
    return Advance(
        group=group,
        n=int(ahead.size),
        mean_months=round(float(ahead.mean()), 2),
        sd_months=round(spread, 2),
    )
