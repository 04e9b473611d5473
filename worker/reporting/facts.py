"""Everything that a report says, as a list of coded facts: each SOP class writes the same ones.

Months are rounded to one decimal, SD and Z-score to two; the class was decided before rounding.
"""

from dataclasses import dataclass

from schemas import codes
from schemas.assessments import Assessment
from schemas.codes import Concept
from schemas.estimates import BoneAgeEstimate
from schemas.images import Sex
from schemas.results import SOFTWARE_NAME, ResultContent
from worker.reporting import wording


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """A text."""

    concept: Concept
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A coded answer."""

    concept: Concept
    answer: Concept


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with its unit, already rounded, and what it belongs to."""

    concept: Concept
    value: float
    unit: Concept
    details: tuple[Phrase, ...] = ()

    @property
    def text(self) -> str:
        """The number and its UCUM unit, for a class without numbers: ``"126.4 mo"``."""
        return f"{self.value:g} {self.unit.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The UID of another object."""

    concept: Concept
    uid: str


Fact = Phrase | Choice | Quantity | Reference


def months_of(concept: Concept, months: float) -> Quantity:
    """Return a fact in months."""
    return Quantity(concept=concept, value=round(months, 1), unit=codes.MONTH)


def subject_facts(content: ResultContent) -> list[Fact]:
    """Return sex and age of the child, each with its source."""
    source = content.source
    facts: list[Fact] = [
        Choice(concept=codes.SUBJECT_SEX, answer=codes.SEXES[source.sex.sex]),
        Choice(concept=codes.SEX_SOURCE, answer=codes.SEX_SOURCES[source.sex.source]),
    ]
    age = source.chronological_age
    if age is not None:
        facts += [
            months_of(codes.SUBJECT_AGE, age.months),
            Phrase(concept=codes.SUBJECT_AGE_WORDS, text=wording.age_phrase(age.months)),
            Choice(concept=codes.AGE_SOURCE, answer=codes.AGE_SOURCES[age.source]),
        ]
    elif source.missing_age is not None:
        answer = codes.MISSING_AGES[source.missing_age]
        facts.append(Choice(concept=codes.NO_AGE_REASON, answer=answer))
    return facts


def headline(content: ResultContent, estimate: BoneAgeEstimate) -> Quantity:
    """Return the estimate; under 85151-9 only where the sex is known."""
    concept = codes.BONE_AGE if content.source.sex.sex else codes.BONE_AGE_IF[estimate.sex]
    return months_of(concept, estimate.age_months)


def headline_words(estimate: BoneAgeEstimate) -> list[Phrase]:
    """Return estimate and interval as a physician says them."""
    return [
        Phrase(concept=codes.BONE_AGE_WORDS, text=wording.age_phrase(estimate.age_months)),
        Phrase(concept=codes.INTERVAL_WORDS, text=wording.interval_phrase(estimate)),
    ]


def interval_facts(estimate: BoneAgeEstimate) -> list[Quantity]:
    """Return both ends of the interval."""
    return [
        months_of(codes.INTERVAL_LOW, estimate.interval.low_months),
        months_of(codes.INTERVAL_HIGH, estimate.interval.high_months),
    ]


def spread_facts(estimate: BoneAgeEstimate) -> list[Quantity]:
    """Return the coverage of the interval and the spread of the members."""
    coverage = round(estimate.interval.coverage * 100, 1)
    return [
        Quantity(concept=codes.INTERVAL_COVERAGE, value=coverage, unit=codes.PERCENT),
        months_of(codes.ENSEMBLE_SPREAD, estimate.spread_months),
    ]


def member_facts(estimate: BoneAgeEstimate) -> list[Quantity]:
    """Return each member's estimate with its name."""
    return [
        Quantity(
            concept=codes.MEMBER_BONE_AGE,
            value=round(member.age_months, 1),
            unit=codes.MONTH,
            details=(Phrase(concept=codes.MEMBER_NAME, text=member.member),),
        )
        for member in estimate.members
    ]


def release_value(estimate: BoneAgeEstimate) -> list[Quantity]:
    """Return what the release said, where the site corrects it."""
    if estimate.uncalibrated_months is None:
        return []
    return [months_of(codes.UNCALIBRATED_BONE_AGE, estimate.uncalibrated_months)]


def calibration_words(content: ResultContent, estimate: BoneAgeEstimate) -> list[Phrase]:
    """Return how the site corrects it."""
    rule = content.profile.calibration_for(estimate.sex)
    if rule is None:
        return []
    return [Phrase(concept=codes.LOCAL_CALIBRATION, text=wording.calibration_phrase(rule))]


def band_facts(assessment: Assessment) -> list[Quantity]:
    """Return centre, SD and both limits of the 2-SD band."""
    centre, deviation = assessment.mean_months, assessment.sd_months
    return [
        months_of(codes.BAND_CENTRE, centre),
        Quantity(concept=codes.POPULATION_SD, value=round(deviation, 2), unit=codes.MONTH),
        months_of(codes.TWO_SIGMA_LOWER, centre - 2 * deviation),
        months_of(codes.TWO_SIGMA_UPPER, centre + 2 * deviation),
    ]


def population_facts(assessment: Assessment, sex: Sex) -> list[Phrase]:
    """Return the population of the table and who published it."""
    population, authority = wording.population_of(assessment, sex)
    return [
        Phrase(concept=codes.POPULATION_DESCRIPTION, text=population),
        Phrase(concept=codes.REFERENCE_AUTHORITY, text=authority),
    ]


def z_score(assessment: Assessment) -> Quantity:
    """Return the Z-score."""
    value = round(assessment.z_score, 2)
    return Quantity(concept=codes.Z_SCORE, value=value, unit=codes.STANDARD_DEVIATIONS)


def class_facts(content: ResultContent) -> list[Choice]:
    """Return class, table and centring, or why there is no class."""
    assessment = content.assessment
    if assessment is not None:
        return [
            Choice(concept=codes.MATURITY, answer=codes.MATURITIES[assessment.maturity]),
            Choice(concept=codes.REFERENCE, answer=codes.REFERENCES[assessment.reference]),
            Choice(concept=codes.CENTRING, answer=codes.CENTRINGS[assessment.centring]),
        ]
    if content.no_assessment is not None:
        answer = codes.NO_ASSESSMENTS[content.no_assessment]
        return [Choice(concept=codes.NO_ASSESSMENT_REASON, answer=answer)]
    return []


def refusal_facts(content: ResultContent) -> list[Fact]:
    """Return the reason, the sentence for the physician, and what was found."""
    if content.reason is None:
        return []
    facts: list[Fact] = [
        Choice(concept=codes.REFUSAL_REASON, answer=codes.REFUSAL_REASONS[content.reason]),
        Phrase(concept=codes.PHYSICIAN_ADVICE, text=wording.refusal_phrase(content.reason)),
    ]
    if content.reason_detail:
        facts.append(Phrase(concept=codes.REASON_DETAIL, text=content.reason_detail))
    return facts


def quality_facts(content: ResultContent) -> list[Fact]:
    """Return the doubts, what the report is about, and the limitation of use."""
    flags: list[Fact] = [
        Choice(concept=codes.QUALITY_FLAG, answer=codes.FLAGS[flag]) for flag in content.flags
    ]
    return [
        *flags,
        Phrase(concept=codes.SCOPE, text=wording.SCOPE_TEXT),
        Phrase(concept=codes.LIMITATION, text=wording.LIMITATION_TEXT),
    ]


def provenance_facts(content: ResultContent) -> list[Fact]:
    """Return release, profile, software and revision, and the reports that this one replaces."""
    release, profile = content.release, content.profile
    facts: list[Fact] = [
        Phrase(concept=codes.RELEASE_DIGEST, text=release.digest),
        Phrase(concept=codes.PROFILE_NAME, text=f"{profile.name} {profile.version}"),
        Phrase(concept=codes.PROFILE_DIGEST, text=profile.digest),
        Phrase(concept=codes.SOFTWARE_VERSION, text=f"{SOFTWARE_NAME} {content.software_version}"),
        Phrase(concept=codes.REVISION, text=str(content.revision)),
    ]
    if release.licence:
        facts.append(Phrase(concept=codes.RELEASE_LICENCE, text=release.licence))
    return facts + [
        Reference(concept=codes.SUPERSEDED, uid=former.sop_instance_uid)
        for former in content.predecessors
    ]
