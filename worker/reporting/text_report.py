"""An estimate or a refusal as a tree of texts and codes, which every SOP class can hold."""

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
)
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from schemas import codes
from schemas.estimates import BoneAgeEstimate
from schemas.results import ResultContent
from worker.reporting import facts, wording
from worker.reporting.identities import capture_uid, tracking_uid
from worker.reporting.items import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    coded,
    container,
    item_of,
    language,
    observation_context,
    source_image,
    text_item_of,
)


def build_text_report(content: ResultContent) -> Dataset:
    """Return the root item of the tree; its title is not 126000, so that OHIF shows the tree."""
    is_refusal = content.reason is not None
    title = codes.NOT_ESTIMATED_REPORT if is_refusal else codes.BONE_AGE_REPORT
    root = ContainerContentItem(name=coded(title), is_content_continuous=False)
    root.ContentSequence = ContentSequence(
        [
            *language(),
            *observation_context(content),
            CodeContentItem(
                name=coded(codes.PROCEDURE_REPORTED),
                value=coded(codes.BONE_AGE_VIEWS),
                relationship_type=HAS_CONCEPT_MOD,
            ),
            item_of(
                facts.Phrase(concept=codes.CONCLUSION, text=wording.conclusion(content)), CONTAINS
            ),
            *_sections(content),
            source_image(content, codes.SOURCE),
            ImageContentItem(
                name=coded(codes.HEATMAP),
                referenced_sop_class_uid=SecondaryCaptureImageStorage,
                referenced_sop_instance_uid=capture_uid(content),
                relationship_type=CONTAINS,
            ),
        ]
    )
    return root


def _sections(content: ResultContent) -> list[ContentItem]:
    """Return the chapters in the order in which a physician asks."""
    sections = [
        _section(codes.REFUSAL, facts.refusal_facts(content)),
        *(_section(codes.ESTIMATE, _about(content, estimate)) for estimate in content.estimates),
        _section(codes.ASSESSMENT, _assessment(content)),
        _section(codes.SUBJECT, facts.subject_facts(content)),
        _section(codes.QUALITY, facts.quality_facts(content)),
        _section(codes.PROVENANCE, [*_release(content), *facts.provenance_facts(content)]),
    ]
    return [section for section in sections if section is not None]


def _section(concept: codes.Concept, said: list[facts.Fact]) -> ContentItem | None:
    if not said:
        return None
    return container(concept, [text_item_of(fact, CONTAINS) for fact in said])


def _about(content: ResultContent, estimate: BoneAgeEstimate) -> list[facts.Fact]:
    site: list[facts.Fact] = [facts.Choice(concept=codes.FINDING_SITE, answer=codes.HAND)]
    side = codes.LATERALITIES.get(content.source.laterality or "")
    if side is not None:
        site.append(facts.Choice(concept=codes.LATERALITY, answer=side))
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


def _assessment(content: ResultContent) -> list[facts.Fact]:
    said: list[facts.Fact] = [*facts.class_facts(content)]
    sex = content.source.sex.sex
    if content.assessment is None or sex is None:
        return said
    return [
        facts.z_score(content.assessment),
        *said,
        *facts.band_facts(content.assessment),
        *facts.population_facts(content.assessment, sex),
    ]


def _release(content: ResultContent) -> list[facts.Fact]:
    return [
        facts.Choice(concept=codes.ALGORITHM_FAMILY, answer=codes.ARTIFICIAL_INTELLIGENCE),
        facts.Phrase(concept=codes.ALGORITHM_NAME, text=content.release.name),
        facts.Phrase(concept=codes.ALGORITHM_VERSION, text=content.release.version),
    ]
