"""Bone age against chronological age: Z-score, and a class where the interval allows one."""

from schemas.assessments import (
    Assessment,
    Centring,
    MaturityClass,
    NoAssessment,
    ReferenceTable,
    SiteProfile,
)
from schemas.errors import PermanentError
from schemas.estimates import BoneAgeEstimate, Interval
from schemas.growth import GROWTH_TABLES, GrowthNorm
from schemas.images import ChronologicalAge, Sex

#: the class is given for the whole of a 90 % interval; a narrower one does not decide
REQUIRED_COVERAGE = 0.9


class NoTableMeanError(PermanentError):
    """The profile wants a band centred on means that the table does not hold."""

    code = "profile.no_table_mean"

    def __init__(self, *, reference: ReferenceTable) -> None:
        super().__init__(
            f"The table {reference.value} holds no means, so its band cannot be centred on them. "
            'Nothing was assessed. Set centring = "chronological_age" in the site profile.'
        )


def assess(
    estimate: BoneAgeEstimate,
    sex: Sex | None,
    age: ChronologicalAge | None,
    profile: SiteProfile,
) -> Assessment | NoAssessment:
    """Return where ``estimate`` lies in the reference, or why that cannot be said.

    Raises:
        NoTableMeanError: ``profile`` centres on the mean of a table that has none.
    """
    if sex is None:
        return NoAssessment.NO_SEX
    if age is None:
        return NoAssessment.NO_AGE
    norm = GROWTH_TABLES[profile.reference, sex].at(age.months)
    if norm is None:
        return NoAssessment.OUTSIDE_TABLE
    centre = _centre(norm, age_months=age.months, profile=profile)
    return Assessment(
        reference=profile.reference,
        centring=profile.centring,
        mean_months=centre,
        sd_months=norm.sd_months,
        z_score=(estimate.age_months - centre) / norm.sd_months,
        maturity=maturity_of(
            estimate.interval,
            low_months=centre - 2 * norm.sd_months,
            high_months=centre + 2 * norm.sd_months,
        ),
    )


def maturity_of(interval: Interval, *, low_months: float, high_months: float) -> MaturityClass:
    """Return the class, given only when the whole interval lies on one side of each limit."""
    if interval.coverage < REQUIRED_COVERAGE:
        return MaturityClass.NOT_SEPARABLE
    if interval.low_months > high_months:
        return MaturityClass.ADVANCED
    if interval.high_months < low_months:
        return MaturityClass.DELAYED
    if low_months <= interval.low_months and interval.high_months <= high_months:
        return MaturityClass.WITHIN
    return MaturityClass.NOT_SEPARABLE


def _centre(norm: GrowthNorm, *, age_months: float, profile: SiteProfile) -> float:
    if profile.centring is Centring.CHRONOLOGICAL_AGE:
        return age_months
    if norm.mean_months is None:
        raise NoTableMeanError(reference=profile.reference)
    return norm.mean_months
