"""What a report says, in the chapters and the order in which a physician asks."""

from dataclasses import dataclass

from schemas import codes
from schemas.codes import Concept
from schemas.estimates import BoneAgeEstimate
from schemas.results import ResultContent
from worker.reporting import facts
from worker.reporting.facts import Choice, Fact, Phrase, Quantity
from worker.reporting.identities import tracking_uid

_UNIT_WORDS = {
    codes.MONTH.value: " months",
    codes.PERCENT.value: " %",
    codes.STANDARD_DEVIATIONS.value: "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A heading, and what stands under it."""

    concept: Concept
    facts: tuple[Fact, ...]


def chapters_of(content: ResultContent) -> list[Chapter]:
    """Return everything that is said of one result; a chapter that would be empty is left out."""
    written = [
        (codes.REFUSAL, facts.refusal_facts(content)),
        *((codes.ESTIMATE, _about(content, estimate)) for estimate in content.estimates),
        (codes.ASSESSMENT, _assessment(content)),
        (codes.SUBJECT, facts.subject_facts(content)),
        (codes.QUALITY, facts.quality_facts(content)),
        (codes.PROVENANCE, [*_release(content), *facts.provenance_facts(content)]),
    ]
    return [Chapter(concept=concept, facts=tuple(said)) for concept, said in written if said]


def answer_of(fact: Fact) -> str:
    """Return what a fact says in words, without its name: ``"126.4 months"``."""
    if isinstance(fact, Phrase):
        return fact.text
    if isinstance(fact, Choice):
        return fact.answer.meaning
    if isinstance(fact, Quantity):
        unit = _UNIT_WORDS.get(fact.unit.value, f" {fact.unit.value}")
        details = "".join(f" ({detail.text})" for detail in fact.details)
        return f"{fact.value:g}{unit}{details}"
    return fact.uid


def _about(content: ResultContent, estimate: BoneAgeEstimate) -> list[Fact]:
    site: list[Fact] = [Choice(concept=codes.FINDING_SITE, answer=codes.HAND)]
    side = codes.LATERALITIES.get(content.source.laterality or "")
    if side is not None:
        site.append(Choice(concept=codes.LATERALITY, answer=side))
    return [
        facts.headline(content, estimate),
        *facts.headline_words(estimate),
        *facts.interval_facts(estimate),
        *facts.spread_facts(estimate),
        *facts.release_value(estimate),
        *facts.calibration_words(content, estimate),
        *facts.member_facts(estimate),
        *site,
        facts.Reference(concept=codes.TRACKING_UID, uid=tracking_uid(content)),
    ]


def _assessment(content: ResultContent) -> list[Fact]:
    said: list[Fact] = [*facts.class_facts(content)]
    sex = content.source.sex.sex
    if content.assessment is None or sex is None:
        return said
    return [
        facts.z_score(content.assessment),
        *said,
        *facts.band_facts(content.assessment),
        *facts.population_facts(content.assessment, sex),
    ]


def _release(content: ResultContent) -> list[Fact]:
    return [
        Choice(concept=codes.ALGORITHM_FAMILY, answer=codes.ARTIFICIAL_INTELLIGENCE),
        Phrase(concept=codes.ALGORITHM_NAME, text=content.release.name),
        Phrase(concept=codes.ALGORITHM_VERSION, text=content.release.version),
    ]
