"""Deeplasia's linear bias correction, and the unit that its intercept is in.

The correction is ``y - (slope * y + intercept)``. Training saves it for z-scores; the evaluation
after it computes it again for months and overwrites the same keys. The slope is the same in both,
the intercept is not: below 0.5 in z-scores, several months otherwise.
"""

from dataclasses import dataclass
from pathlib import Path

from models.release.importing.errors import BiasUnitsError

#: a z-score's intercept is smaller than this (seen in checkpoints of the project)
Z_BELOW = 0.5
#: a correction of the mean age beyond this many months is no correction but a wrong unit
MOST_AT_MEAN_MONTHS = 6.0
#: if both units give the same months to within this, it does not matter which it is
SAME_MONTHS = 0.5

#: slope and intercept in months of the published ensemble, by a part of the file's name; the
#: legacy checkpoints do not hold them
PUBLISHED = {
    "b4_shallow_pretr": (0.1002, -12.4127),
    "supshal_highres": (0.0432, -4.7941),
    "super_shallow": (0.0375, -3.8066),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """A correction in months, and where it came from."""

    slope: float
    intercept_months: float
    decision: str


def published_bias(path: Path) -> Bias | None:
    """Return the published constants of a file that bears the name of a published model."""
    # the service writes "effnet-b4_shallow_pretr", others "b4-shallow-pretr"
    name = path.stem.lower().replace("-", "_")
    for part, (slope, intercept) in PUBLISHED.items():
        if part in name:
            return Bias(
                slope=slope,
                intercept_months=intercept,
                decision=f"bias correction: slope {slope:g}, intercept {intercept:g} months, the "
                f"constants published for {part}, by the file's name",
            )
    return None


def decide_units(
    path: Path, *, slope: float, intercept: float, mean: float, sd: float, units: str | None
) -> Bias:
    """Return a checkpoint's correction in months.

    Args:
        path: of the checkpoint, for messages.
        slope: as the checkpoint has it.
        intercept: as the checkpoint has it, in z-scores or months.
        mean: of the training ages, months.
        sd: of the training ages, months.
        units: "z" or "months" if the operator said so; None: decided by magnitude.

    Raises:
        BiasUnitsError: both readings are possible, or neither is.
    """
    from_z = intercept * sd - slope * mean
    at_mean = {"z": abs(intercept * sd), "months": abs(slope * mean + intercept)}
    chosen, why = units, "as told"
    if chosen is None:
        chosen = "z" if abs(intercept) < Z_BELOW else "months"
        why = f"the intercept is {'below' if chosen == 'z' else 'not below'} {Z_BELOW:g}"
        other = "months" if chosen == "z" else "z"
        is_same = abs(from_z - intercept) < SAME_MONTHS
        is_plausible = at_mean[chosen] <= MOST_AT_MEAN_MONTHS and at_mean[chosen] < at_mean[other]
        if not is_same and not is_plausible:
            raise BiasUnitsError(path=path, slope=slope, intercept=intercept)
    in_months = from_z if chosen == "z" else intercept
    return Bias(
        slope=slope,
        intercept_months=in_months,
        decision=f"bias correction: slope {slope:g}, intercept {intercept:g} read as "
        f"{'a z-score' if chosen == 'z' else 'months'} ({why}); in months {in_months:.4f}",
    )
