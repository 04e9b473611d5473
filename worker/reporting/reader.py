"""Reads a report as a receiver does: by coded concept, never by position in the tree."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from pydicom.dataset import Dataset

from schemas import codes
from schemas.assessments import Centring, MaturityClass, NoAssessment, ReferenceTable
from schemas.codes import Concept
from schemas.errors import PermanentError
from schemas.estimates import MemberEstimate, QualityFlag
from schemas.images import DateSource, MissingAge, Sex, SexSource
from schemas.jobs import Outcome
from schemas.refusals import RefusalReason

Key = tuple[str, str]
Answer = TypeVar("Answer", bound=StrEnum)


class UnreadableReportError(PermanentError):
    """This data set is not a report of ours."""

    code = "report.unreadable"

    def __init__(self, *, lacks: str) -> None:
        super().__init__(
            f"This data set is not a bone-age report of this software: it has no {lacks}. "
            "Nothing was read from it. Give an SR file that `boneage estimate --out` or a PACS "
            "holds."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredEstimate:
    """One estimate as the report says it, rounded as there."""

    sex: Sex | None  #: the condition, where the child's sex is unknown
    age_months: float
    low_months: float
    high_months: float
    coverage: float
    spread_months: float
    members: tuple[MemberEstimate, ...]
    words: str
    uncalibrated_months: float | None  #: where the site corrects what the release says
    calibration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredAssessment:
    """Z-score and what it was reckoned with."""

    z_score: float
    centre_months: float
    sd_months: float
    low_months: float  #: of the 2-SD band
    high_months: float
    reference: ReferenceTable
    centring: Centring
    maturity: MaturityClass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredProvenance:
    """Who made the report with what."""

    release_name: str
    release_version: str
    release_digest: str
    profile: str
    profile_digest: str
    software: str
    revision: int
    superseded_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredReport:
    """Everything that a report says."""

    outcome: Outcome
    title: Key
    conclusion: str
    limitation: str
    scope: str
    sex: Sex | None
    sex_source: SexSource
    chronological_age_months: float | None
    age_source: DateSource | None
    missing_age: MissingAge | None
    laterality: str | None
    tracking_uid: str  #: empty in a refusal
    estimates: tuple[RecoveredEstimate, ...]
    assessment: RecoveredAssessment | None
    no_assessment: NoAssessment | None
    flags: tuple[QualityFlag, ...]
    reason: RefusalReason | None
    reason_detail: str
    provenance: RecoveredProvenance
    image_uids: tuple[str, ...]  #: of every image that is referred to
    outline: tuple[tuple[float, float], ...]  #: empty in a class without coordinates


def read_report(dataset: Dataset) -> RecoveredReport:
    """Return what ``dataset`` says, whatever SR class it is in.

    Raises:
        UnreadableReportError: not one of our reports, or a part that each of them has is missing.
    """
    tree = _Tree(dataset)
    reason = tree.answer(codes.REFUSAL_REASON, codes.REFUSAL_REASONS)
    return RecoveredReport(
        outcome=Outcome.ESTIMATED if reason is None else Outcome.REFUSED,
        title=_name(dataset),
        conclusion=tree.text(codes.CONCLUSION),
        limitation=tree.text(codes.LIMITATION),
        scope=tree.text(codes.SCOPE),
        sex=tree.answer(codes.SUBJECT_SEX, _KNOWN_SEXES),
        sex_source=_there(tree.answer(codes.SEX_SOURCE, codes.SEX_SOURCES), codes.SEX_SOURCE),
        chronological_age_months=tree.number_or_none(codes.SUBJECT_AGE),
        age_source=tree.answer(codes.AGE_SOURCE, codes.AGE_SOURCES),
        missing_age=tree.answer(codes.NO_AGE_REASON, codes.MISSING_AGES),
        laterality=_laterality(tree),
        estimates=tuple(_estimate(*found) for found in _headlines(tree)),
        tracking_uid=next(iter(tree.uids(codes.TRACKING_UID)), ""),
        assessment=_assessment(tree),
        no_assessment=tree.answer(codes.NO_ASSESSMENT_REASON, codes.NO_ASSESSMENTS),
        flags=tree.answers(codes.QUALITY_FLAG, codes.FLAGS),
        reason=reason,
        reason_detail=tree.text_or_none(codes.REASON_DETAIL) or "",
        provenance=_provenance(tree),
        image_uids=_image_uids(tree),
        outline=_outline(tree),
    )


_KNOWN_SEXES = {sex: concept for sex, concept in codes.SEXES.items() if sex is not None}
_CONDITIONS = {concept.key: sex for sex, concept in codes.BONE_AGE_IF.items()}
_HEADLINES = {codes.BONE_AGE.key, *_CONDITIONS}


class _Tree:
    """A content item with everything below it."""

    def __init__(self, root: Dataset) -> None:
        if "ContentSequence" not in root:
            raise UnreadableReportError(lacks="Content Sequence (0040,A730)")
        self.items = tuple(_below(root))

    def found(self, concept: Concept) -> Iterator[Dataset]:
        return (item for item in self.items if _name(item) == concept.key)

    def answers(self, concept: Concept, among: Mapping[Answer, Concept]) -> tuple[Answer, ...]:
        known = {answer.key: member for member, answer in among.items()}
        given = (_code(item.ConceptCodeSequence[0]) for item in self.found(concept))
        return tuple(known[key] for key in given if key in known)

    def answer(self, concept: Concept, among: Mapping[Answer, Concept]) -> Answer | None:
        return next(iter(self.answers(concept, among)), None)

    def text_or_none(self, concept: Concept) -> str | None:
        return next((str(item.TextValue) for item in self.found(concept)), None)

    def text(self, concept: Concept) -> str:
        return _there(self.text_or_none(concept), concept)

    def number_or_none(self, concept: Concept) -> float | None:
        return next((_number(item) for item in self.found(concept)), None)

    def number(self, concept: Concept) -> float:
        return _there(self.number_or_none(concept), concept)

    def uids(self, concept: Concept) -> tuple[str, ...]:
        return tuple(str(item.UID) for item in self.found(concept))


Found = TypeVar("Found")


def _there(value: Found | None, concept: Concept) -> Found:
    if value is None:
        raise UnreadableReportError(lacks=f"{concept.meaning} ({concept.value})")
    return value


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        yield child
        yield from _below(child)


def _name(item: Dataset) -> Key:
    names = item.get("ConceptNameCodeSequence")
    return _code(names[0]) if names else ("", "")


def _code(item: Dataset) -> Key:
    return str(item.CodingSchemeDesignator), str(item.CodeValue)


def _number(item: Dataset) -> float:
    if item.ValueType == "NUM":
        return float(item.MeasuredValueSequence[0].NumericValue)
    return float(str(item.TextValue).split()[0])


def _headlines(tree: _Tree) -> Iterator[tuple[Dataset, _Tree]]:
    """Find each estimate with what belongs to it: below its NUM, or beside it in its chapter."""
    for item in tree.items:
        if _name(item) in _HEADLINES and item.ValueType == "NUM":
            yield item, _Tree(item)
        elif _name(item) == codes.ESTIMATE.key:
            chapter = _Tree(item)
            headline = next((i for i in chapter.items if _name(i) in _HEADLINES), None)
            yield _there(headline, codes.BONE_AGE), chapter


def _estimate(value: Dataset, group: _Tree) -> RecoveredEstimate:
    return RecoveredEstimate(
        sex=_CONDITIONS.get(_name(value)),
        age_months=_number(value),
        low_months=group.number(codes.INTERVAL_LOW),
        high_months=group.number(codes.INTERVAL_HIGH),
        coverage=group.number(codes.INTERVAL_COVERAGE) / 100,
        spread_months=group.number(codes.ENSEMBLE_SPREAD),
        members=tuple(
            MemberEstimate(member=_Tree(item).text(codes.MEMBER_NAME), age_months=_number(item))
            for item in group.found(codes.MEMBER_BONE_AGE)
        ),
        words=group.text(codes.BONE_AGE_WORDS),
        uncalibrated_months=group.number_or_none(codes.UNCALIBRATED_BONE_AGE),
        calibration=group.text_or_none(codes.LOCAL_CALIBRATION) or "",
    )


def _assessment(tree: _Tree) -> RecoveredAssessment | None:
    maturity = tree.answer(codes.MATURITY, codes.MATURITIES)
    if maturity is None:
        return None
    reference = tree.answer(codes.REFERENCE, codes.REFERENCES)
    centring = tree.answer(codes.CENTRING, codes.CENTRINGS)
    return RecoveredAssessment(
        z_score=tree.number(codes.Z_SCORE),
        centre_months=tree.number(codes.BAND_CENTRE),
        sd_months=tree.number(codes.POPULATION_SD),
        low_months=tree.number(codes.TWO_SIGMA_LOWER),
        high_months=tree.number(codes.TWO_SIGMA_UPPER),
        reference=_there(reference, codes.REFERENCE),
        centring=_there(centring, codes.CENTRING),
        maturity=maturity,
    )


def _provenance(tree: _Tree) -> RecoveredProvenance:
    return RecoveredProvenance(
        release_name=tree.text(codes.ALGORITHM_NAME),
        release_version=tree.text(codes.ALGORITHM_VERSION),
        release_digest=tree.text(codes.RELEASE_DIGEST),
        profile=tree.text(codes.PROFILE_NAME),
        profile_digest=tree.text(codes.PROFILE_DIGEST),
        software=tree.text(codes.SOFTWARE_VERSION),
        revision=int(tree.text(codes.REVISION)),
        superseded_uids=tree.uids(codes.SUPERSEDED),
    )


def _laterality(tree: _Tree) -> str | None:
    sides = {concept.key: side for side, concept in codes.LATERALITIES.items()}
    for item in tree.found(codes.LATERALITY):
        return sides.get(_code(item.ConceptCodeSequence[0]))
    return None


def _image_uids(tree: _Tree) -> tuple[str, ...]:
    images = (item for item in tree.items if item.get("ValueType") == "IMAGE")
    uids = (str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for image in images)
    return tuple(dict.fromkeys(uids))


def _outline(tree: _Tree) -> tuple[tuple[float, float], ...]:
    for item in tree.items:
        if item.get("ValueType") == "SCOORD":
            numbers = [float(number) for number in item.GraphicData]
            return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return ()
