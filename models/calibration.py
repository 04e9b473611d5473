"""Intervals with a stated coverage, from children that no member was trained on.

Split-conformal prediction: the half width is the error that at least the stated share of
calibration children stayed within, with the small-sample correction of Lei et al. 2018
("Distribution-Free Predictive Inference for Regression", JASA 113:1094, section 2.2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import PermanentError
from schemas.estimates import Interval
from schemas.images import Sex
from schemas.releases import Calibration, IntervalGroup

COVERAGE = 0.9  #: what the report states
#: a band of its own needs this many calibration children; narrower bands join their neighbour. From
#: 80 on the small-sample correction costs at most 1.3 points of coverage.
LEAST_CHILDREN = 80
#: upper edges of the age bands that are tried, months of estimated age; narrow where the error
#: changes fast: boys of 156 to 168 months are within 11 months nine times in ten, of 132 to 144
#: within 21 (release rsna-2026.1, calibration children)
BAND_EDGES = (60.0, 84.0, 108.0, 120.0, 132.0, 144.0, 156.0, 168.0, 1000.0)


class NoCalibrationError(PermanentError):
    """No group of the calibration holds this child: the manifest is incomplete."""

    code = "release.calibration"

    def __init__(self, *, sex: Sex, age_months: float) -> None:
        if age_months < BAND_EDGES[-1]:  # false for what is no number
            problem = (
                f"The release states no interval for sex {sex.value} at {age_months:.0f} months"
            )
            mend = "Build the release again, or use another one"
        else:
            problem = f"The networks said {age_months:.0f} months, which is the age of no hand"
            mend = (
                "If other images are read as usual, look at this one: it is unlike all that the "
                "networks learned from. Otherwise check the weights with `boneage release verify`"
            )
        super().__init__(f"{problem}. Nothing was predicted. {mend}.")


class TooFewChildrenError(PermanentError):
    """An interval of this coverage cannot be had from so few children."""

    code = "release.too_few_children"

    def __init__(self, *, found: int, needed: int) -> None:
        super().__init__(
            f"{found} children of one sex cannot give the stated interval; at least {needed} are "
            "needed. Add children to the calibrate and validate parts of the split; a run that no "
            "release was made of has its interval from the validate part alone."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a release said about one child, beside the label."""

    sex: Sex
    label_months: float
    age_months: float


def conformal_half_width(errors: NDArray[np.float64], *, coverage: float) -> float:
    """Return the half width that covers a new child with at least the stated probability.

    Args:
        errors: ``(child,)`` absolute errors in months.
        coverage: wanted share, below 1.

    Raises:
        TooFewChildrenError: fewer children than ``coverage / (1 - coverage)``.
    """
    count = errors.size
    rank = math.ceil((count + 1) * coverage)
    if rank > count:
        needed = math.ceil(round(coverage / (1 - coverage), 6))  # 9, not 9.0000000000000002
        raise TooFewChildrenError(found=count, needed=needed)
    return float(np.sort(errors)[rank - 1])


def choose_bands(ages: NDArray[np.float64], *, least: int) -> list[tuple[float, float]]:
    """Return age bands ``[low, high)`` that hold at least ``least`` children each.

    Too thin a band joins the next older one, and the oldest its younger neighbour; all children
    in one band if there are fewer than ``least``.
    """
    bands: list[tuple[float, float]] = []
    low = 0.0
    for high in BAND_EDGES:
        if np.count_nonzero((ages >= low) & (ages < high)) >= least:
            bands.append((low, high))
            low = high
    if not bands:
        return [(0.0, BAND_EDGES[-1])]
    bands[-1] = (bands[-1][0], BAND_EDGES[-1])
    return bands


def fit_calibration(scored: Sequence[Scored], *, coverage: float = COVERAGE) -> Calibration:
    """Return half widths by sex and, where there are enough children, by estimated age.

    Raises:
        TooFewChildrenError: a sex has too few children for the coverage.
    """
    groups: list[IntervalGroup] = []
    for sex in Sex:
        ours = [one for one in scored if one.sex is sex]
        ages = np.array([one.age_months for one in ours])
        errors = np.abs(ages - np.array([one.label_months for one in ours]))
        for low, high in choose_bands(ages, least=LEAST_CHILDREN):
            inside = (ages >= low) & (ages < high)
            groups.append(
                IntervalGroup(
                    sex=sex.value,
                    low_months=low,
                    high_months=high,
                    half_width_months=round(
                        conformal_half_width(errors[inside], coverage=coverage), 2
                    ),
                    n=int(np.count_nonzero(inside)),
                )
            )
    return Calibration(coverage=coverage, groups=tuple(groups))


def interval_of(age_months: float, *, sex: Sex, calibration: Calibration) -> Interval:
    """Return the stated interval around an estimate, in months, not below birth.

    Raises:
        NoCalibrationError: no group holds this sex and age.
    """
    lookup = max(age_months, 0.0)
    for group in calibration.groups:
        if group.sex in (sex.value, "*") and group.low_months <= lookup < group.high_months:
            return Interval(
                low_months=max(0.0, age_months - group.half_width_months),
                high_months=age_months + group.half_width_months,
                coverage=calibration.coverage,
            )
    raise NoCalibrationError(sex=sex, age_months=age_months)
