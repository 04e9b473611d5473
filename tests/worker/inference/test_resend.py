from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless, JPEGExtended12Bit

from tests.builders import ABSENT, hand_pixels, hand_radiograph, read_back
from worker.inference.resend import Change, change_between


def test_another_lossless_encoding_changes_nothing(tmp_path: Path) -> None:
    source = hand_radiograph()
    encoded = read_back(source, tmp_path / "a.dcm", transfer_syntax=JPEG2000Lossless)

    assert change_between(source, encoded) is Change.NOTHING_RELEVANT


@pytest.mark.parametrize(
    "overrides",
    [
        {"StationName": "ROOM 2"},
        {"AccessionNumber": "9"},
        {"StudyDescription": "BONE AGE"},
        {"PatientName": "Lind^Ada "},
    ],
    ids=str,
)
def test_what_the_result_does_not_show_changes_nothing(overrides: dict[str, object]) -> None:
    change = change_between(hand_radiograph(), hand_radiograph(**overrides))

    assert change is Change.NOTHING_RELEVANT


def test_the_same_image_stored_inverted_changes_nothing() -> None:
    source = hand_radiograph()
    inverted = hand_radiograph(
        PhotometricInterpretation="MONOCHROME1",
        StudyInstanceUID=source.StudyInstanceUID,
        SeriesInstanceUID=source.SeriesInstanceUID,
    )

    assert change_between(source, inverted) is Change.NOTHING_RELEVANT


@pytest.mark.parametrize(
    "overrides",
    [
        {"PatientSex": "M"},
        {"PatientSex": ABSENT},
        {"PatientBirthDate": "20150306"},
        {"PatientID": "4712"},
        {"PatientName": "Lind^Eva"},
        {"StudyInstanceUID": "1.2.3"},
        {"AcquisitionDate": "20260104"},
        {"PatientAge": "012Y"},
        {"ImageLaterality": "R"},
        {"WindowCenter": 500, "WindowWidth": 600},
        {"RescaleSlope": -1},
    ],
    ids=str,
)
def test_what_the_result_shows_is_a_new_fact(overrides: dict[str, object]) -> None:
    assert change_between(hand_radiograph(), hand_radiograph(**overrides)) is Change.FACTS


def test_other_pixels_are_another_image() -> None:
    other = hand_pixels()
    other[100, 100] += 1

    assert change_between(hand_radiograph(), hand_radiograph(other, BitsStored=12)) is Change.IMAGE


def test_another_size_is_another_image() -> None:
    wide = hand_pixels(rows=256, columns=320)

    assert change_between(hand_radiograph(), hand_radiograph(wide, BitsStored=12)) is Change.IMAGE


def test_lossy_compression_makes_another_image(tmp_path: Path) -> None:
    source = hand_radiograph()
    encoded = read_back(source, tmp_path / "a.dcm", transfer_syntax=JPEGExtended12Bit)

    assert change_between(source, encoded) is Change.IMAGE


def test_pixels_that_cannot_be_read_replace_nothing() -> None:
    broken = hand_radiograph(PixelData=b"\0" * 10)

    assert change_between(hand_radiograph(), broken) is Change.IMAGE


def test_anything_may_replace_pixels_that_could_not_be_read() -> None:
    broken = hand_radiograph(PixelData=b"\0" * 10)

    assert change_between(broken, hand_radiograph()) is Change.FACTS
