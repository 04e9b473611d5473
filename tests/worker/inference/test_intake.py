import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForProcessing, SecondaryCaptureImageStorage

from schemas.config import IntakeRule, IntakeSection, RuleAction
from schemas.refusals import IgnoreReason
from tests.builders import ABSENT, hand_radiograph
from worker.inference.intake import folded, judge

DEFAULT = IntakeSection().rule
EVERYTHING = IntakeRule(name="everything", modalities=())


def code(value: str, scheme: str, meaning: str = "") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def plain(**overrides: object) -> Dataset:
    """A hand that nobody asked to be read."""
    return hand_radiograph(**({"StudyDescription": "XR HAND LEFT 2 VIEWS"} | overrides))


def verdict(dataset: Dataset, *rules: IntakeRule, calling_ae: str = "PACS") -> object:
    found = judge(dataset, calling_ae=calling_ae, rules=rules or DEFAULT)
    return found.name if isinstance(found, IntakeRule) else found


@pytest.mark.parametrize(
    "description",
    [
        "XR BONE AGE LEFT HAND",
        "Hand, bone-age",
        "BONE_AGE",
        "Bone  Age (Greulich & Pyle)",
        "BONEAGE",
        "Knochenalterbestimmung Hand links",
        "Âge osseux",
        "AGE OSSEUX main gauche",
        "Edad Ósea",
        "Età ossea",
        "骨年齢 手",
        "골연령 검사",
        "左手骨龄",
    ],
)
def test_a_study_that_names_bone_age_is_read(description: str) -> None:
    assert verdict(plain(StudyDescription=description)) == "bone age"


@pytest.mark.parametrize(
    "description",
    ["XR HAND LEFT 2 VIEWS", "", "Bone agenesis", "age of bone", "Cribone ages", "BONE SURVEY"],
)
def test_a_study_that_does_not_name_bone_age_is_ignored(description: str) -> None:
    assert verdict(plain(StudyDescription=description)) is IgnoreReason.NO_RULE


def test_a_study_without_any_description_is_ignored() -> None:
    assert verdict(plain(StudyDescription=ABSENT)) is IgnoreReason.NO_RULE


@pytest.mark.parametrize(
    "keyword",
    [
        "SeriesDescription",
        "PerformedProcedureStepDescription",
        "RequestedProcedureDescription",
    ],
)
def test_other_descriptions_count_as_well(keyword: str) -> None:
    assert verdict(plain(**{keyword: "bone age"})) == "bone age"


def test_a_comment_is_no_description() -> None:
    assert verdict(plain(ImageComments="bone age?")) is IgnoreReason.NO_RULE


@pytest.mark.parametrize(
    "keyword",
    ["ProcedureCodeSequence", "RequestedProcedureCodeSequence", "PerformedProtocolCodeSequence"],
)
def test_a_procedure_code_names_bone_age(keyword: str) -> None:
    dataset = plain(**{keyword: Sequence([code("77072", "C4")])})

    assert verdict(dataset) == "bone age"


def test_the_same_value_of_another_scheme_is_another_code() -> None:
    dataset = plain(ProcedureCodeSequence=Sequence([code("77072", "L")]))

    assert verdict(dataset) is IgnoreReason.NO_RULE


def test_the_meaning_of_a_local_code_is_a_description() -> None:
    dataset = plain(ProcedureCodeSequence=Sequence([code("RX12", "L", "Radiograph bone age")]))

    assert verdict(dataset) == "bone age"


def test_the_request_may_name_bone_age() -> None:
    request = Dataset()
    request.RequestedProcedureDescription = "Bone age"

    assert verdict(plain(RequestAttributesSequence=Sequence([request]))) == "bone age"


@pytest.mark.parametrize(
    "overrides",
    [
        {"PresentationIntentType": "FOR PROCESSING"},
        {"SOPClassUID": DigitalXRayImageStorageForProcessing},
    ],
)
def test_an_image_for_processing_is_ignored(overrides: dict[str, object]) -> None:
    assert verdict(hand_radiograph(**overrides)) is IgnoreReason.FOR_PROCESSING


def test_an_image_for_processing_is_read_where_a_rule_says_so() -> None:
    rule = IntakeRule(name="raw", for_processing=True)

    assert verdict(hand_radiograph(PresentationIntentType="FOR PROCESSING"), rule) == "raw"


@pytest.mark.parametrize("modality", ["OT", "CR"])
def test_a_secondary_capture_is_ignored_whatever_its_modality(modality: str) -> None:
    dataset = hand_radiograph(Modality=modality, SOPClassUID=SecondaryCaptureImageStorage)

    assert verdict(dataset) is IgnoreReason.NO_RULE


def test_a_secondary_capture_is_read_where_a_rule_says_so() -> None:
    rule = IntakeRule(name="film scans", modalities=("OT",), secondary_capture=True)

    assert verdict(hand_radiograph(Modality="OT"), rule) == "film scans"


@pytest.mark.parametrize("modality", ["MR", "CT", "MG", ABSENT])
def test_another_modality_is_ignored(modality: object) -> None:
    dataset = hand_radiograph()
    if modality is ABSENT:
        del dataset.Modality
    else:
        dataset.Modality = modality

    assert verdict(dataset) is IgnoreReason.NO_RULE


def test_the_first_rule_that_matches_wins() -> None:
    ignore = IntakeRule(name="not from there", action=RuleAction.IGNORE, calling_ae=("TRAUMA",))

    assert verdict(plain(), ignore, EVERYTHING, calling_ae="TRAUMA") is IgnoreReason.RULE
    assert verdict(plain(), ignore, EVERYTHING, calling_ae="WARD") == "everything"


def test_every_condition_of_a_rule_must_hold() -> None:
    rule = IntakeRule(name="both", calling_ae=("WARD",), words=("bone age",))

    assert verdict(hand_radiograph(), rule, calling_ae="WARD ") == "both"
    assert verdict(hand_radiograph(), rule, calling_ae="OTHER") is IgnoreReason.NO_RULE
    assert verdict(plain(), rule, calling_ae="WARD") is IgnoreReason.NO_RULE


def test_folding_leaves_words_with_single_spaces() -> None:
    assert folded("  ÂGE-osseux__(Main)  ") == "age osseux main"
