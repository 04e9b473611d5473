"""Which images are read: the rules of [[intake.rule]], first match wins."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from schemas.config import IntakeRule, RuleAction
from schemas.refusals import IgnoreReason
from worker.inference.attributes import items_of, lenient_values, text_of

_SECONDARY_CAPTURES = frozenset(
    {
        SecondaryCaptureImageStorage,
        MultiFrameSingleBitSecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
#: where a study, series, procedure or requested procedure is described in words …
_DESCRIPTIONS = (
    "StudyDescription",
    "SeriesDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription",
)
#: … and by codes; each also inside Request Attributes Sequence
_CODES = (
    "ProcedureCodeSequence",
    "SeriesDescriptionCodeSequence",
    "PerformedProtocolCodeSequence",
    "RequestedProcedureCodeSequence",
    "ScheduledProtocolCodeSequence",
)


def judge(
    dataset: Dataset, *, calling_ae: str, rules: Sequence[IntakeRule]
) -> IntakeRule | IgnoreReason:
    """Return the first rule that wants this image read, or why none does."""
    with lenient_values():
        for rule in rules:
            if _matches(rule, dataset, calling_ae=calling_ae):
                return rule if rule.action is RuleAction.READ else IgnoreReason.RULE
        return IgnoreReason.FOR_PROCESSING if _is_for_processing(dataset) else IgnoreReason.NO_RULE


def folded(text: str) -> str:
    """Return ``text`` without case, accents and punctuation: words with single spaces between."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", " ", plain).strip()


def names_any(descriptions: Iterable[str], words: Iterable[str]) -> bool:
    """Say whether one of the words stands in one of the descriptions.

    A phrase must stand there as whole words: "bone age" is not in "bone agenesis". A single word
    may be part of a longer one: "knochenalter" is in "Knochenalterbestimmung".
    """
    texts = [f" {folded(description)} " for description in descriptions]
    sought = [folded(word) for word in words]
    return any(
        (f" {word} " if " " in word else word) in text for word in sought if word for text in texts
    )


def _matches(rule: IntakeRule, dataset: Dataset, *, calling_ae: str) -> bool:
    """Say whether every condition that the rule gives holds."""
    if rule.calling_ae and calling_ae.strip() not in rule.calling_ae:
        return False
    if rule.modalities and text_of(dataset, "Modality") not in rule.modalities:
        return False
    if _is_for_processing(dataset) and not rule.for_processing:
        return False
    if _is_secondary_capture(dataset) and not rule.secondary_capture:
        return False
    return _names_procedure(rule, dataset)


def _names_procedure(rule: IntakeRule, dataset: Dataset) -> bool:
    """Say whether a description or a code is on the rule's lists; no lists: everything is."""
    if not (rule.words or rule.codes):
        return True
    return names_any(_descriptions(dataset), rule.words) or not _codes(dataset).isdisjoint(
        code.casefold() for code in rule.codes
    )


def _is_for_processing(dataset: Dataset) -> bool:
    is_class = text_of(dataset, "SOPClassUID") == DigitalXRayImageStorageForProcessing
    return is_class or text_of(dataset, "PresentationIntentType") == "FOR PROCESSING"


def _is_secondary_capture(dataset: Dataset) -> bool:
    return text_of(dataset, "SOPClassUID") in _SECONDARY_CAPTURES


def _procedures(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the places where a procedure is named: the data set and each request."""
    yield dataset
    yield from items_of(dataset, "RequestAttributesSequence")


def _code_items(dataset: Dataset) -> Iterator[Dataset]:
    for place in _procedures(dataset):
        for keyword in _CODES:
            yield from items_of(place, keyword)


def _descriptions(dataset: Dataset) -> list[str]:
    texts = [text_of(place, word) for place in _procedures(dataset) for word in _DESCRIPTIONS]
    return texts + [text_of(item, "CodeMeaning") for item in _code_items(dataset)]


def _codes(dataset: Dataset) -> set[str]:
    """Return every procedure code as "value" and as "scheme:value", case folded."""
    found = set()
    for item in _code_items(dataset):
        value = (text_of(item, "CodeValue") or text_of(item, "LongCodeValue")).casefold()
        scheme = text_of(item, "CodingSchemeDesignator").casefold()
        found |= {value, f"{scheme}:{value}"}
    return found - {"", ":"}
