from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset

from models.phantom import digest_of_pixels, draw_phantom
from schemas.config import IntakeRule, IntakeSection
from schemas.estimates import QualityFlag
from schemas.images import Sex
from worker.inference.header import header_flags, read_source
from worker.inference.intake import judge
from worker.inference.phantom import phantom_radiograph
from worker.inference.pixels import display_values

PIXELS = draw_phantom(age_months=120, sex=Sex.FEMALE)


def phantom(uid_seed: str = "") -> Dataset:
    return phantom_radiograph(
        PIXELS,
        age_months=120,
        sex=Sex.FEMALE,
        taken_at=datetime(2026, 1, 5, 9, 30, tzinfo=UTC),
        uid_seed=uid_seed,
    )


def test_the_phantom_has_the_age_and_sex_that_were_stated() -> None:
    source = read_source(phantom())

    assert source.chronological_age is not None
    assert source.chronological_age.months == pytest.approx(120, abs=0.05)  # a day is 0.03
    assert source.sex.sex is Sex.FEMALE


def test_the_phantom_is_marked_wherever_a_person_looks() -> None:
    dataset = phantom()

    for keyword in ("PatientName", "PatientID", "StudyDescription", "SeriesDescription"):
        assert "PHANTOM" in str(dataset[keyword].value)
    assert QualityFlag.PHANTOM in header_flags(dataset, read_source(dataset))


def test_the_phantom_is_read_by_the_default_rules() -> None:
    rule = judge(phantom(), calling_ae="DEMO", rules=IntakeSection().rule)

    assert isinstance(rule, IntakeRule)


def test_the_phantom_is_the_same_array_after_the_way_through_dicom() -> None:
    assert digest_of_pixels(display_values(phantom())) == digest_of_pixels(PIXELS)


def test_a_new_seed_is_a_new_instance_of_the_same_image() -> None:
    assert phantom("1").SOPInstanceUID != phantom("2").SOPInstanceUID
    assert phantom("1").PixelData == phantom("2").PixelData
