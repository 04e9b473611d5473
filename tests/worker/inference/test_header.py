from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from schemas.errors import UnsuitableImageError
from schemas.estimates import QualityFlag
from schemas.images import DateSource, MissingAge, Sex, SexSource
from schemas.phantom import PHANTOM_PATIENT_ID
from schemas.refusals import RefusalReason
from tests.builders import ABSENT, hand_radiograph, read_back
from worker.inference.header import (
    MissingIdentityError,
    header_flags,
    read_source,
    require_readable_age,
)

WHOLE_RANGE = (12.0, 300.0)


def without_dates(**overrides: object) -> Dataset:
    absent = dict.fromkeys(("AcquisitionDate", "SeriesDate", "StudyDate"), ABSENT)
    return hand_radiograph(**(absent | overrides))


def refusal_of(dataset: Dataset, *, ages: tuple[float, float] = WHOLE_RANGE) -> RefusalReason:
    with pytest.raises(UnsuitableImageError) as refused:
        require_readable_age(dataset, read_source(dataset), age_range_months=ages)
    return refused.value.reason


@pytest.mark.parametrize(("text", "sex"), [("F", Sex.FEMALE), ("M", Sex.MALE), ("F ", Sex.FEMALE)])
def test_the_sex_is_what_patients_sex_says(text: str, sex: Sex) -> None:
    reading = read_source(hand_radiograph(PatientSex=text)).sex

    assert (reading.sex, reading.source) == (sex, SexSource.PATIENT_SEX)


@pytest.mark.parametrize("text", ["O", "", "U", "f", "female", "MALE", ["M", "F"], ABSENT])
def test_a_sex_that_is_neither_m_nor_f_is_unknown(text: object) -> None:
    reading = read_source(hand_radiograph(PatientSex=text)).sex

    assert (reading.sex, reading.source) == (None, SexSource.UNKNOWN)


def test_what_the_operator_says_goes_before_the_header() -> None:
    reading = read_source(hand_radiograph(PatientSex="F"), sex=Sex.MALE).sex

    assert (reading.sex, reading.source) == (Sex.MALE, SexSource.OPERATOR)


def test_the_age_is_reckoned_at_the_acquisition_date() -> None:
    dataset = hand_radiograph(
        PatientBirthDate="20160105",
        AcquisitionDate="20260105",
        SeriesDate="20260106",
        StudyDate="20260107",
    )

    age = read_source(dataset).chronological_age

    assert age is not None
    assert age.source is DateSource.ACQUISITION_DATE
    assert age.months == pytest.approx(120, abs=0.05)  # ten years hold two or three leap days


@pytest.mark.parametrize(
    ("dates", "source"),
    [
        ({"AcquisitionDateTime": "20260105093000.12+0100"}, DateSource.ACQUISITION_DATE),
        ({"SeriesDate": "20260105", "StudyDate": "20260104"}, DateSource.SERIES_DATE),
        ({"StudyDate": "20260105"}, DateSource.STUDY_DATE),
        ({"StudyDate": "2026.01.05"}, DateSource.STUDY_DATE),
        ({"AcquisitionDate": "20261345", "StudyDate": "20260105"}, DateSource.STUDY_DATE),
    ],
)
def test_without_a_usable_acquisition_date_the_next_date_counts(
    dates: dict[str, str], source: DateSource
) -> None:
    age = read_source(without_dates(PatientBirthDate="20160105", **dates)).chronological_age

    assert age is not None
    assert age.source is source
    assert age.months == pytest.approx(120, abs=0.05)


@pytest.mark.parametrize(
    ("overrides", "missing"),
    [
        ({"PatientBirthDate": ABSENT}, MissingAge.NO_BIRTH_DATE),
        ({"PatientBirthDate": ""}, MissingAge.NO_BIRTH_DATE),
        ({"PatientBirthDate": "20150230"}, MissingAge.IMPOSSIBLE_DATE),
        ({"PatientBirthDate": "2015"}, MissingAge.IMPOSSIBLE_DATE),
        ({"PatientBirthDate": "20260106"}, MissingAge.BORN_AFTER_IMAGE),
    ],
)
def test_a_birth_date_that_gives_no_age_says_why(
    overrides: dict[str, object], missing: MissingAge
) -> None:
    source = read_source(hand_radiograph(**overrides))

    assert (source.chronological_age, source.missing_age) == (None, missing)


def test_without_any_date_of_the_image_there_is_no_age() -> None:
    assert read_source(without_dates()).missing_age is MissingAge.NO_IMAGE_DATE


def test_with_only_impossible_dates_of_the_image_there_is_no_age() -> None:
    dataset = without_dates(StudyDate="20260230", SeriesDate="yesterday")

    assert read_source(dataset).missing_age is MissingAge.IMPOSSIBLE_DATE


@pytest.mark.parametrize("stated", ["010Y", "011Y", "130M", "000Y", "ten", ABSENT])
def test_patients_age_within_its_own_precision_raises_no_doubt(stated: object) -> None:
    dataset = hand_radiograph(PatientAge=stated)  # 10 years and 10 months by the dates

    assert QualityFlag.AGE_CONTRADICTION not in header_flags(dataset, read_source(dataset))


@pytest.mark.parametrize("stated", ["008Y", "012Y", "120M", "030D"])
def test_patients_age_that_contradicts_the_birth_date_is_flagged(stated: str) -> None:
    dataset = hand_radiograph(PatientAge=stated)

    assert QualityFlag.AGE_CONTRADICTION in header_flags(dataset, read_source(dataset))


@pytest.mark.parametrize("stated", ["012Y", "120M"])
def test_ages_that_differ_by_months_leave_the_one_by_the_dates(stated: str) -> None:
    source = read_source(hand_radiograph(PatientAge=stated))

    assert source.chronological_age is not None
    assert source.missing_age is None


@pytest.mark.parametrize("stated", ["006Y", "008Y", "013Y", "030D", "100W"])
def test_ages_that_differ_by_years_leave_none(stated: str) -> None:
    source = read_source(hand_radiograph(PatientAge=stated))

    assert source.chronological_age is None
    assert source.missing_age is MissingAge.CONTRADICTION


def test_a_clock_that_was_reset_by_months_is_flagged() -> None:
    dataset = hand_radiograph(AcquisitionDate="20250601", StudyDate="20260105")

    assert QualityFlag.AGE_CONTRADICTION in header_flags(dataset, read_source(dataset))
    assert read_source(dataset).chronological_age is not None


def test_a_clock_that_was_reset_by_years_leaves_no_age() -> None:
    dataset = hand_radiograph(AcquisitionDate="20200101", StudyDate="20260105")

    assert read_source(dataset).missing_age is MissingAge.CONTRADICTION
    assert QualityFlag.AGE_CONTRADICTION in header_flags(dataset, read_source(dataset))


def test_a_clock_that_runs_decades_ahead_is_a_contradiction_not_an_adult() -> None:
    dataset = hand_radiograph(AcquisitionDate="20490101", StudyDate="20260105")

    assert refusal_of(dataset) is RefusalReason.CONTRADICTION


def test_above_nineteen_years_nothing_is_read_whatever_the_release_says() -> None:
    assert (
        refusal_of(hand_radiograph(PatientBirthDate="20060601")) is RefusalReason.AGE_OUTSIDE_RANGE
    )


def test_an_age_outside_the_range_of_the_release_is_refused() -> None:
    dataset = hand_radiograph(PatientBirthDate="20250601")

    assert refusal_of(dataset) is RefusalReason.AGE_OUTSIDE_RANGE


def test_an_adult_without_a_birth_date_is_known_by_patients_age() -> None:
    dataset = hand_radiograph(PatientBirthDate="", PatientAge="045Y")

    assert refusal_of(dataset) is RefusalReason.AGE_OUTSIDE_RANGE


def test_an_adult_by_patients_age_and_a_child_by_birth_date_is_a_contradiction() -> None:
    assert refusal_of(hand_radiograph(PatientAge="045Y")) is RefusalReason.CONTRADICTION


def test_an_unknown_age_may_be_read() -> None:
    dataset = hand_radiograph(PatientBirthDate="")

    require_readable_age(dataset, read_source(dataset), age_range_months=WHOLE_RANGE)

    assert read_source(dataset).missing_age is MissingAge.NO_BIRTH_DATE


def test_a_refused_age_is_told_without_birth_date_or_age() -> None:
    dataset = hand_radiograph(PatientBirthDate="19710203")

    with pytest.raises(UnsuitableImageError) as refused:
        require_readable_age(dataset, read_source(dataset), age_range_months=WHOLE_RANGE)

    assert "1971" not in str(refused.value)
    assert refused.value.detail == "age: above the range"


def region(value: str, scheme: str) -> Sequence:
    side, hand = Dataset(), Dataset()
    side.CodeValue, side.CodingSchemeDesignator = value, scheme
    hand.AnatomicRegionModifierSequence = Sequence([side])
    return Sequence([hand])


@pytest.mark.parametrize(
    ("overrides", "side"),
    [
        ({"ImageLaterality": "L"}, "L"),
        ({"ImageLaterality": "R", "Laterality": "R"}, "R"),
        ({"ImageLaterality": ABSENT, "Laterality": "R"}, "R"),
        ({"ImageLaterality": ABSENT, "AnatomicRegionSequence": region("7771000", "SCT")}, "L"),
        ({"ImageLaterality": ABSENT, "AnatomicRegionSequence": region("G-A100", "SRT")}, "R"),
        ({"ImageLaterality": "L", "Laterality": "R"}, None),
        ({"ImageLaterality": "U"}, None),
        ({"ImageLaterality": "B"}, None),
        ({"ImageLaterality": ABSENT, "StudyDescription": "LEFT HAND"}, None),
    ],
)
def test_the_side_is_what_attributes_agree_on_never_inferred(
    overrides: dict[str, object], side: str | None
) -> None:
    assert read_source(hand_radiograph(**overrides)).laterality == side


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_without_identity_cannot_be_reported(keyword: str) -> None:
    with pytest.raises(MissingIdentityError, match=keyword):
        read_source(hand_radiograph(**{keyword: ""}))


def test_the_transfer_syntax_is_that_of_the_file(tmp_path: Path) -> None:
    dataset = read_back(hand_radiograph(), tmp_path / "a.dcm", transfer_syntax=RLELossless)

    source = read_source(dataset)

    assert source.transfer_syntax_uid == RLELossless
    assert (source.rows, source.columns) == (320, 256)
    assert source.patient_orientation == ("R", "F")


def test_an_object_without_an_image_module_still_has_a_source() -> None:
    dataset = hand_radiograph(Rows=ABSENT, Columns=ABSENT, PhotometricInterpretation=ABSENT)

    source = read_source(dataset)

    assert (source.rows, source.columns, source.photometric_interpretation) == (0, 0, "")


def test_the_phantom_is_known_by_its_patient_id() -> None:
    dataset = hand_radiograph(PatientID=PHANTOM_PATIENT_ID)

    assert read_source(dataset).is_phantom
    assert QualityFlag.PHANTOM in header_flags(dataset, read_source(dataset))


def test_no_fact_holds_name_id_or_birth_date() -> None:
    source = read_source(hand_radiograph(PatientName="Canary^Bird", PatientID="CANARY7"))

    told = repr(source)
    assert "anary" not in told
    assert "CANARY" not in told
    assert "20150305" not in told
