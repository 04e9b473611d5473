"""Numbers and findings in a physician's words; the same ones in every report and on the page.

All text is ASCII, so that it can stand beside a name in any character set.
"""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.assessments import (
    Assessment,
    Centring,
    LocalCalibration,
    MaturityClass,
    NoAssessment,
    ReferenceTable,
)
from schemas.codes import FLAGS, MATURITIES, MISSING_AGES, REFUSAL_REASONS
from schemas.estimates import BoneAgeEstimate, QualityFlag
from schemas.growth import GROWTH_TABLES
from schemas.images import MissingAge, Sex
from schemas.refusals import REFUSALS, RefusalReason
from schemas.results import SOFTWARE_NAME, ResultContent

RESEARCH_USE = "RESEARCH USE ONLY - NOT FOR DIAGNOSIS"
LIMITATION_TEXT = (
    "Research use only, not for diagnosis. Made by a neural network without a physician; not for "
    "determining the age of a person of unknown age. The interval covers the stated share of "
    "children like those of the training data, not of children with skeletal disorders."
)
SCOPE_TEXT = (
    "This report is about one image. Other images of this study, of the same hand among them, have "
    "reports of their own that stand beside this one. It is replaced only by a report that names "
    "it as superseded."
)
SCOPE_ON_PAGE = "About this one image: others of the study have their own page."
NO_HEADLINE = "No single bone age is given: the sex is unknown."
PHANTOM = "PHANTOM - not a child"
HEATMAP_LEGEND = "contribution to the network's output, not the age of that bone"

AGE_ADVICE = (
    "Birth date, Patient's Age and the dates of the image do not belong together: correct them and "
    "send the image again for a Z-score."
)

SEX_WORDS: Mapping[Sex, str] = MappingProxyType({Sex.FEMALE: "girl", Sex.MALE: "boy"})
TABLE_NAMES: Mapping[ReferenceTable, str] = MappingProxyType(
    {
        ReferenceTable.BRUSH_FOUNDATION: "Brush Foundation",
        ReferenceTable.GREULICH_PYLE_1959: "Greulich-Pyle 1959",
    }
)
CENTRING_WORDS: Mapping[Centring, str] = MappingProxyType(
    {
        Centring.CHRONOLOGICAL_AGE: "centred on chronological age",
        Centring.TABLE_MEAN: "centred on the mean of the table",
    }
)
NO_ASSESSMENT_WORDS: Mapping[NoAssessment, str] = MappingProxyType(
    {
        NoAssessment.NO_SEX: "No Z-score: the sex is unknown.",
        NoAssessment.NO_AGE: "No Z-score: the chronological age is unknown.",
        NoAssessment.OUTSIDE_TABLE: "No Z-score: the age is outside the reference table.",
    }
)


def years_and_months(months: float) -> str:
    """Return 126.4 as ``"10 y 6 m"``, after rounding to whole months."""
    years, rest = divmod(round(months), 12)
    return f"{years} y {rest} m"


def age_phrase(months: float) -> str:
    """Return 126.4 as ``"10 y 6 m (126 months)"``."""
    return f"{years_and_months(months)} ({round(months)} months)"


def interval_phrase(estimate: BoneAgeEstimate) -> str:
    """Return the interval as ``"90 % interval 9 y 6 m to 11 y 6 m (114 to 138 months)"``."""
    low, high = estimate.interval.low_months, estimate.interval.high_months
    return (
        f"{estimate.interval.coverage:.0%} interval {years_and_months(low)} to "
        f"{years_and_months(high)} ({round(low)} to {round(high)} months)"
    ).replace("%", " %", 1)


def calibration_phrase(rule: LocalCalibration) -> str:
    """Return a site's correction as ``"girls: 1 x months -3.5 months; 120 children, …"``."""
    return (
        f"{SEX_WORDS[rule.sex]}s: {rule.slope:g} x months {rule.offset_months:+g} months; fitted "
        f"on {rule.children} children, {rule.fitted_on.isoformat()}; the interval moved with it"
    )


def flag_phrase(flag: QualityFlag) -> str:
    """Return what a doubt means."""
    return FLAGS[flag].meaning


def refusal_phrase(reason: RefusalReason) -> str:
    """Return the sentence for the physician."""
    return REFUSALS[reason].physician


def age_sentence(content: ResultContent) -> str:
    """Return the chronological age, or why there is none."""
    age = content.source.chronological_age
    if age is not None:
        return f"Chronological age {age_phrase(age.months)}."
    missing = content.source.missing_age
    why = MISSING_AGES[missing].meaning if missing else "no reason stated"
    return f"Chronological age unknown: {why[0].lower()}{why[1:]}."


def age_advice(content: ResultContent) -> list[str]:
    """Return what to do about entries that contradict each other."""
    is_contradicted = content.source.missing_age is MissingAge.CONTRADICTION
    return [AGE_ADVICE] if is_contradicted else []


def assessment_sentence(assessment: Assessment) -> str:
    """Return class, Z-score and reference in one sentence."""
    words = MATURITIES[assessment.maturity].meaning
    return (
        f"{words}: Z-score {assessment.z_score:+.2f} "
        f"({TABLE_NAMES[assessment.reference]}, 2-SD band "
        f"{CENTRING_WORDS[assessment.centring]}, SD {assessment.sd_months:.1f} months)."
    )


def conclusion(content: ResultContent) -> str:
    """Return the whole result in a few sentences, the most important first."""
    if content.reason is not None:
        reason = REFUSAL_REASONS[content.reason].meaning
        return f"{reason}. {refusal_phrase(content.reason)} {RESEARCH_USE}."
    sentences = [_estimate_sentence(content, estimate) for estimate in content.estimates]
    if content.source.sex.sex is None:
        sentences = [NO_HEADLINE, *sentences]
    sentences += [age_sentence(content), *age_advice(content)]
    if content.assessment is not None:
        sentences.append(assessment_sentence(content.assessment))
    elif content.no_assessment is not None:
        sentences.append(NO_ASSESSMENT_WORDS[content.no_assessment])
    if content.flags:
        doubts = "; ".join(flag_phrase(flag) for flag in content.flags)
        sentences.append(f"Doubts: {doubts}.")
    return " ".join([*sentences, f"{RESEARCH_USE}."])


def made_with(content: ResultContent) -> str:
    """Return release, site profile and software, each digest by its first twelve digits."""
    release, profile = content.release, content.profile
    return (
        f"Release {release.name} {release.version} ({release.digest[:12]})   "
        f"Profile {profile.name} {profile.version} ({profile.digest[:12]})   "
        f"{SOFTWARE_NAME} {content.software_version}"
    )


def made_at(content: ResultContent) -> str:
    """Return local time with its offset, and the revision."""
    when = content.created_at.isoformat(sep=" ", timespec="minutes")
    return f"{when}   revision {content.revision}"


def identity_sentence(content: ResultContent) -> str:
    """Return which image this is about, for a document that can be parted from its study."""
    return f"Image {content.source.sop_instance_uid}. This document names no patient."


def population_of(assessment: Assessment, sex: Sex) -> tuple[str, str]:
    """Return population and authority of the table that was used."""
    table = GROWTH_TABLES[assessment.reference, sex]
    return table.population, table.authority


def maturity_word(maturity: MaturityClass) -> str:
    """Return the class as one short phrase for the page."""
    return MATURITIES[maturity].meaning


def _estimate_sentence(content: ResultContent, estimate: BoneAgeEstimate) -> str:
    condition = "" if content.source.sex.sex else f" if the child is a {SEX_WORDS[estimate.sex]}"
    before = estimate.uncalibrated_months
    corrected = "" if before is None else f", {round(before)} months before the site's calibration"
    return (
        f"Bone age{condition} {age_phrase(estimate.age_months)}{corrected}, "
        f"{interval_phrase(estimate)}."
    )
