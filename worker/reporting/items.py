"""Content items (PS3.3 C.17.3) from our concepts and facts."""

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom.uid import SecondaryCaptureImageStorage

from schemas import codes
from schemas.codes import Concept
from schemas.results import SOFTWARE_NAME, ResultContent
from worker.reporting.facts import Choice, Fact, Phrase, Quantity
from worker.reporting.identities import capture_uid, device_uid, heatmap_uid

CONTAINS = RelationshipTypeValues.CONTAINS
HAS_ACQ_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT
HAS_CONCEPT_MOD = RelationshipTypeValues.HAS_CONCEPT_MOD
HAS_OBS_CONTEXT = RelationshipTypeValues.HAS_OBS_CONTEXT
HAS_PROPERTIES = RelationshipTypeValues.HAS_PROPERTIES
INFERRED_FROM = RelationshipTypeValues.INFERRED_FROM


def coded(concept: Concept) -> CodedConcept:
    """Return ``concept`` as highdicom wants it."""
    return CodedConcept(
        value=concept.value, scheme_designator=concept.scheme, meaning=concept.meaning
    )


def item_of(fact: Fact, relationship: RelationshipTypeValues) -> ContentItem:
    """Return ``fact`` in its own value type: TEXT, CODE, NUM or UIDREF."""
    name = coded(fact.concept)
    if isinstance(fact, Phrase):
        return TextContentItem(
            name=name, value=ascii_text(fact.text), relationship_type=relationship
        )
    if isinstance(fact, Choice):
        return CodeContentItem(name=name, value=coded(fact.answer), relationship_type=relationship)
    if isinstance(fact, Quantity):
        number = NumContentItem(
            name=name, value=fact.value, unit=coded(fact.unit), relationship_type=relationship
        )
        return _with_children(number, [item_of(detail, HAS_CONCEPT_MOD) for detail in fact.details])
    return UIDRefContentItem(name=name, value=fact.uid, relationship_type=relationship)


def text_item_of(fact: Fact, relationship: RelationshipTypeValues) -> ContentItem:
    """Return ``fact`` for a class without numbers: a number becomes ``"126.4 mo"``."""
    if not isinstance(fact, Quantity):
        return item_of(fact, relationship)
    text = item_of(Phrase(concept=fact.concept, text=fact.text), relationship)
    return _with_children(text, [item_of(detail, HAS_PROPERTIES) for detail in fact.details])


def container(concept: Concept, children: list[ContentItem]) -> ContainerContentItem:
    """Return a container inside the tree."""
    item = ContainerContentItem(
        name=coded(concept), is_content_continuous=False, relationship_type=CONTAINS
    )
    item.ContentSequence = ContentSequence(children)
    return item


def source_image(content: ResultContent, concept: Concept) -> ImageContentItem:
    """Return a reference to the radiograph."""
    return ImageContentItem(
        name=coded(concept),
        referenced_sop_class_uid=content.source.sop_class_uid,
        referenced_sop_instance_uid=content.source.sop_instance_uid,
        relationship_type=CONTAINS,
    )


def captures(content: ResultContent) -> list[ContentItem]:
    """Return references to the page and, where it is made, to the heatmap alone."""
    made = [(codes.HEATMAP, capture_uid(content))]
    if content.has_heatmap_object:
        made.append((codes.HEATMAP_OBJECT, heatmap_uid(content)))
    return [
        ImageContentItem(
            name=coded(concept),
            referenced_sop_class_uid=SecondaryCaptureImageStorage,
            referenced_sop_instance_uid=uid,
            relationship_type=CONTAINS,
        )
        for concept, uid in made
    ]


def language() -> LanguageOfContentItemAndDescendants:
    """Return TID 1204: all reports are in English."""
    return LanguageOfContentItemAndDescendants(coded(codes.ENGLISH))


def observation_context(content: ResultContent) -> ObservationContext:
    """Return TID 1001: this installation is the observer."""
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid(content),
        name=SOFTWARE_NAME,
        manufacturer_name=SOFTWARE_NAME,
        model_name=ascii_text(f"{content.release.name} {content.release.version}"),
        serial_number=ascii_text(content.installation_id),
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=coded(codes.DEVICE), observer_identifying_attributes=device
        )
    )


def ascii_text(text: str) -> str:
    """Return ``text`` with ``?`` for what some character sets cannot carry."""
    return text.encode("ascii", "replace").decode()


def _with_children(item: ContentItem, children: list[ContentItem]) -> ContentItem:
    if children:
        item.ContentSequence = ContentSequence(children)
    return item
