"""Numbers beside the table of errors: correlation, bias and its correction, predicted sex."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import PermanentError

#: slopes of a line that may be taken off: it then multiplies differences between estimates by
#: two to one half. Published networks have 0.04 to 0.10 (Deeplasia); a network that says nearly
#: one age to all has any slope at all, and taking it off turns its noise into ages.
SENSIBLE_SLOPES = (-1.0, 0.5)

Numbers = NDArray[np.float64]


def pearson(labels: Numbers, ages: Numbers) -> float:
    """Return Pearson's correlation of labels and estimates; 0 where one of them does not vary."""
    if labels.size < 2 or np.ptp(labels) == 0 or np.ptp(ages) == 0:  # noqa: PLR2004 - a line needs two
        return 0.0
    return float(np.corrcoef(labels, ages)[0, 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasLine:
    """The error that is expected at an estimate: ``slope * estimate + intercept``, in months."""

    sex: str  #: "F", "M" or "*" for both
    slope: float
    intercept_months: float
    n: int  #: children that it was fitted on

    def corrected(self, ages: Numbers) -> Numbers:
        """Return estimates less the error that is expected at them."""
        return ages - (self.slope * ages + self.intercept_months)


class UnfitBiasError(PermanentError):
    """A line through the errors of a network that hardly follows the age."""

    code = "evaluate.bias"

    def __init__(self, line: BiasLine) -> None:
        low, high = SENSIBLE_SLOPES
        super().__init__(
            f"The bias of these estimates cannot be taken off: a line fitted on {line.n} children "
            f"has the slope {line.slope:+.2f} (sensible: {low:+g} to {high:+g}) and would multiply "
            f"differences between estimates by {1 - line.slope:.2g}, so the network hardly "
            "follows the age, or is far off its scale. Nothing was corrected, nothing written. "
            "Evaluate without --correct-bias, and train the network on."
        )


def require_fit(line: BiasLine) -> BiasLine:
    """Return a line that may be taken off.

    Raises:
        UnfitBiasError: its slope is none of a network that follows the age.
    """
    low, high = SENSIBLE_SLOPES
    if not low <= line.slope <= high:  # no number is not sensible either
        raise UnfitBiasError(line)
    return line


def fit_bias(labels: Numbers, ages: Numbers, *, sex: str) -> BiasLine:
    """Return the line through errors over estimates, by least squares."""
    slope, intercept = np.polyfit(ages, ages - labels, 1) if ages.size > 1 else (0.0, 0.0)
    return BiasLine(
        sex=sex, slope=float(slope), intercept_months=float(intercept), n=int(ages.size)
    )


def correct(ages: Numbers, sexes: NDArray[np.str_], lines: tuple[BiasLine, ...]) -> Numbers:
    """Return estimates corrected by the line of their sex, or by that of both."""
    corrected = ages.copy()
    for line in lines:
        chosen = np.ones(ages.size, dtype=np.bool_) if line.sex == "*" else sexes == line.sex
        corrected[chosen] = line.corrected(ages[chosen])
    return corrected


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A receiver operating characteristic."""

    name: str
    false_positive_rates: tuple[float, ...]  #: from 0 to 1
    true_positive_rates: tuple[float, ...]
    auroc: float


def trace_curve(name: str, scores: Numbers, is_positive: NDArray[np.bool_]) -> Curve:
    """Return the curve of scores, ``(n,)``: the higher, the likelier positive."""
    order = np.argsort(-scores, kind="stable")
    last_of_score = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(is_positive[order])[last_of_score]
    alarms = np.cumsum(~is_positive[order])[last_of_score]
    hit_rates = np.append(0.0, hits / max(int(is_positive.sum()), 1))
    alarm_rates = np.append(0.0, alarms / max(int((~is_positive).sum()), 1))
    return Curve(
        name=name,
        false_positive_rates=tuple(float(one) for one in alarm_rates),
        true_positive_rates=tuple(float(one) for one in hit_rates),
        auroc=float(np.trapezoid(hit_rates, alarm_rates)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SexScores:
    """How well a member tells boys from girls; boys are what is looked for."""

    member: str
    n: int
    accuracy: float
    auroc: float
    f1: float
    confusion: tuple[tuple[int, int], tuple[int, int]]  #: girls, boys; told to be girls, boys
    false_positive_rates: tuple[float, ...]  #: of the curve, from 0 to 1
    true_positive_rates: tuple[float, ...]


def score_sex(member: str, logits: Numbers, is_boy: NDArray[np.bool_]) -> SexScores:
    """Return the scores of a predicted sex.

    Args:
        member: its name.
        logits: ``(child,)``, above 0 for a boy.
        is_boy: ``(child,)``.
    """
    said = logits > 0
    counts = [
        [int(np.sum((is_boy == told) & (said == as_boy))) for as_boy in (False, True)]
        for told in (False, True)
    ]
    true_boys, false_boys, missed = counts[1][1], counts[0][1], counts[1][0]
    curve = trace_curve(member, logits, is_boy)
    return SexScores(
        member=member,
        n=int(logits.size),
        accuracy=float(np.mean(said == is_boy)),
        auroc=curve.auroc,
        f1=2 * true_boys / max(2 * true_boys + false_boys + missed, 1),
        confusion=((counts[0][0], counts[0][1]), (counts[1][0], counts[1][1])),
        false_positive_rates=curve.false_positive_rates,
        true_positive_rates=curve.true_positive_rates,
    )
