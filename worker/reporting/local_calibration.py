"""The site's own correction of an estimate, by sex; the release's value is kept beside it."""

from dataclasses import replace

from schemas.assessments import LocalCalibration, SiteProfile
from schemas.estimates import BoneAgeEstimate


def calibrated(estimate: BoneAgeEstimate, profile: SiteProfile) -> BoneAgeEstimate:
    """Return ``estimate`` as the site corrects it; as it is, where the site does not.

    Interval and members move with it, so that what the report shows belongs together. The stated
    coverage is still that of the release: a site's few children cannot show another.
    """
    rule = profile.calibration_for(estimate.sex)
    if rule is None:
        return estimate
    interval = estimate.interval
    return replace(
        estimate,
        age_months=_corrected(estimate.age_months, rule),
        spread_months=estimate.spread_months * rule.slope,
        members=tuple(
            replace(member, age_months=_corrected(member.age_months, rule))
            for member in estimate.members
        ),
        interval=replace(
            interval,
            low_months=_corrected(interval.low_months, rule),
            high_months=_corrected(interval.high_months, rule),
        ),
        uncalibrated_months=estimate.age_months,
    )


def _corrected(months: float, rule: LocalCalibration) -> float:
    return max(0.0, rule.slope * months + rule.offset_months)
