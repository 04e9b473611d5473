"""The table of a release: error and coverage for groups of children, with its uncertainty."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.images import Sex
from schemas.releases import MetricRow

#: lower and upper edge of the age bands of the table, months of the label
AGE_BANDS = ((0, 24), (24, 60), (60, 96), (96, 132), (132, 168), (168, 192), (192, 240))
#: a band of its own needs this many children; thinner ones are pooled with a neighbour
LEAST_BAND = 100
RESAMPLES = 2000  #: bootstrap resamples of children


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What a release said about children it was not made from; all arrays ``(child,)``."""

    sexes: NDArray[np.str_]
    labels: NDArray[np.float64]  #: months
    ages: NDArray[np.float64]  #: months
    lows: NDArray[np.float64]  #: lower ends of the intervals, months
    highs: NDArray[np.float64]

    def where(self, chosen: NDArray[np.bool_]) -> "Outcomes":
        """Return some of the children."""
        return Outcomes(
            sexes=self.sexes[chosen],
            labels=self.labels[chosen],
            ages=self.ages[chosen],
            lows=self.lows[chosen],
            highs=self.highs[chosen],
        )


def bootstrap_mean(
    errors: NDArray[np.float64], *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean, over resampled children; seeded."""
    random = np.random.default_rng(1)
    drawn = random.integers(0, errors.size, size=(resamples, errors.size))
    low, high = np.percentile(errors[drawn].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def _share_within(errors: NDArray[np.float64], *, months: float) -> float:
    return round(float(np.mean(errors <= months)), 3)


def measure(group: str, outcomes: Outcomes, *, resamples: int = RESAMPLES) -> MetricRow:
    """Return one row of the table; the group must not be empty."""
    errors = np.abs(outcomes.ages - outcomes.labels)
    low, high = bootstrap_mean(errors, resamples=resamples)
    covered = (outcomes.lows <= outcomes.labels) & (outcomes.labels <= outcomes.highs)
    return MetricRow(
        group=group,
        n=int(errors.size),
        mae_months=round(float(errors.mean()), 2),
        mae_low=round(low, 2),
        mae_high=round(high, 2),
        rmse_months=round(float(np.sqrt(np.mean(errors**2))), 2),
        within_6=_share_within(errors, months=6),
        within_12=_share_within(errors, months=12),
        within_24=_share_within(errors, months=24),
        coverage=round(float(covered.mean()), 3),
    )


def measure_groups(
    outcomes: Outcomes, *, prefix: str = "", resamples: int = RESAMPLES
) -> list[MetricRow]:
    """Return rows for all children, by sex, and by age band of the label; no empty rows."""
    groups = [(f"{prefix}all", np.ones(outcomes.labels.size, dtype=np.bool_))]
    for sex, name in ((Sex.FEMALE, "girls"), (Sex.MALE, "boys")):
        groups.append((f"{prefix}{name}", outcomes.sexes == sex.value))
    for low, high in AGE_BANDS:
        inside = (outcomes.labels >= low) & (outcomes.labels < high)
        groups.append((f"{prefix}{low} to {high} months", inside))
    return [
        measure(name, outcomes.where(chosen), resamples=resamples)
        for name, chosen in groups
        if chosen.any()
    ]


def measure_bands(outcomes: Outcomes, *, prefix: str) -> list[MetricRow]:
    """Return a row for all, and one for each sex and band of the *estimated* age.

    Bands of the estimate are what an interval can promise anything about: the label is not known
    where it is stated. Bands with fewer than ``LEAST_BAND`` children join the next older one, the
    last its younger neighbour; names say the bounds that there are.
    """
    rows = [measure(f"{prefix}all", outcomes)]
    for sex, name in ((Sex.FEMALE, "girls"), (Sex.MALE, "boys")):
        ours = outcomes.where(outcomes.sexes == sex.value)
        for low, high in pooled_bands(ours.ages):
            inside = ours.where((ours.ages >= low) & (ours.ages < high))
            rows.append(measure(prefix + _name_band(name, low, high), inside))
    return rows


def _name_band(children: str, low: float, high: float) -> str:
    if low == -np.inf and high == np.inf:
        return f"all {children}"
    if low == -np.inf:
        return f"{children} estimated below {high:.0f} months"
    if high == np.inf:
        return f"{children} estimated {low:.0f} months and more"
    return f"{children} estimated {low:.0f} to {high:.0f} months"


def pooled_bands(ages: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return bands ``[low, high)`` of at least ``LEAST_BAND`` children, or one for all.

    The first begins and the last ends nowhere.
    """
    bands: list[tuple[float, float]] = []
    low = -np.inf
    for _, high in AGE_BANDS:
        if np.count_nonzero((ages >= low) & (ages < high)) >= LEAST_BAND:
            bands.append((low, float(high)))
            low = float(high)
    if not bands:
        return [(-np.inf, np.inf)] if ages.size else []
    return [*bands[:-1], (bands[-1][0], np.inf)]
