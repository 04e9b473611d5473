"""An estimate or a refusal as a tree of texts and codes, which every SOP class can hold."""

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
)
from pydicom.dataset import Dataset

from schemas import codes
from schemas.results import ResultContent
from worker.reporting import facts, wording
from worker.reporting.chapters import chapters_of
from worker.reporting.items import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    captures,
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
            *captures(content),
        ]
    )
    return root


def _sections(content: ResultContent) -> list[ContentItem]:
    return [
        container(chapter.concept, [text_item_of(fact, CONTAINS) for fact in chapter.facts])
        for chapter in chapters_of(content)
    ]
