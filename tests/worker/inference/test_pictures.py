from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from pydicom import dcmread

from schemas.errors import UnsuitableImageError
from schemas.images import Sex
from schemas.refusals import RefusalReason
from tests.builders import hand_pixels
from worker.inference.header import read_source
from worker.inference.pictures import Wrapping, read_picture, wrap_as_radiograph
from worker.inference.pixels import display_values

NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def refusal_of(path: Path) -> RefusalReason:
    with pytest.raises(UnsuitableImageError) as refused:
        read_picture(path)
    return refused.value.reason


@pytest.mark.parametrize("ending", ["png", "tiff", "webp", "bmp"])
def test_a_lossless_picture_is_read_as_it_is(tmp_path: Path, ending: str) -> None:
    pixels = hand_pixels(bits=8)
    path = tmp_path / f"hand.{ending}"
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_WEBP_QUALITY, 101])

    np.testing.assert_array_equal(read_picture(path), pixels)


def test_a_picture_of_16_bits_keeps_them(tmp_path: Path) -> None:
    pixels = hand_pixels(bits=16)
    cv2.imwrite(str(tmp_path / "hand.png"), pixels)

    np.testing.assert_array_equal(read_picture(tmp_path / "hand.png"), pixels)


def test_a_grey_picture_saved_with_colours_is_grey(tmp_path: Path) -> None:
    pixels = hand_pixels(bits=8)
    cv2.imwrite(str(tmp_path / "hand.png"), cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGRA))

    np.testing.assert_array_equal(read_picture(tmp_path / "hand.png"), pixels)


@pytest.mark.parametrize("ending", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda stored: stored),
        (2, np.fliplr),
        (3, lambda stored: np.rot90(stored, 2)),
        (4, np.flipud),
        (5, np.transpose),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: np.rot90(stored, 2).T),
        (8, np.rot90),
    ],
)
def test_a_picture_is_turned_as_its_exif_orientation_asks(
    tmp_path: Path,
    ending: str,
    orientation: int,
    upright: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> None:
    stored = np.repeat(np.repeat(np.array([[250, 150], [80, 20]], np.uint8), 32, 0), 48, 1)
    picture = Image.fromarray(stored)
    exif = picture.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.save(tmp_path / f"hand.{ending}", exif=exif, lossless=True, quality=100)

    np.testing.assert_array_equal(read_picture(tmp_path / f"hand.{ending}"), upright(stored))


def test_a_coloured_picture_is_refused(tmp_path: Path) -> None:
    coloured = np.zeros((20, 20, 3), dtype=np.uint8)
    coloured[:, :, 1] = 200
    cv2.imwrite(str(tmp_path / "tree.png"), coloured)

    assert refusal_of(tmp_path / "tree.png") is RefusalReason.UNSUPPORTED_IMAGE


def test_a_grey_picture_that_was_saved_as_colours_with_loss_is_read(tmp_path: Path) -> None:
    pixels = hand_pixels(bits=8, rows=101, columns=77)
    path = tmp_path / "hand.webp"
    cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), [cv2.IMWRITE_WEBP_QUALITY, 90])

    assert np.abs(read_picture(path).astype(int) - pixels).mean() < 2


def test_only_a_tint_that_nobody_could_see_is_taken_for_grey(tmp_path: Path) -> None:
    tinted = np.full((20, 20, 3), 100, dtype=np.uint8)
    for tint in (2, 3):
        tinted[10, 10, 2] = 100 + tint
        cv2.imwrite(str(tmp_path / f"{tint}.png"), tinted)

    assert (read_picture(tmp_path / "2.png") == 100).all()
    assert refusal_of(tmp_path / "3.png") is RefusalReason.UNSUPPORTED_IMAGE


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)

    assert refusal_of(tmp_path / "x") is RefusalReason.UNREADABLE_PIXELS


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_wrapped_picture_shows_the_same_values(tmp_path: Path, bits: int) -> None:
    pixels = hand_pixels(bits=bits, rows=101, columns=77)
    wrapped = wrap_as_radiograph(pixels, Wrapping(taken_at=NOW, bits_stored=bits))
    wrapped.save_as(tmp_path / "a.dcm", enforce_file_format=True)

    shown = display_values(dcmread(tmp_path / "a.dcm"))

    # 16 bits through a window in float32: a few steps of 0.004
    np.testing.assert_allclose(shown, pixels, rtol=0, atol=0.05)


def test_a_wrapped_picture_says_what_is_known() -> None:
    wrapping = Wrapping(
        taken_at=NOW, sex=Sex.MALE, birth_date=date(2016, 1, 5), patient_id="1", laterality="R"
    )

    source = read_source(wrap_as_radiograph(hand_pixels(bits=8), wrapping))

    assert (source.sex.sex, source.laterality) == (Sex.MALE, "R")
    assert source.chronological_age is not None
    assert source.chronological_age.months == pytest.approx(120, abs=0.05)


def test_a_wrapped_picture_without_a_patient_says_nothing_of_one() -> None:
    source = read_source(wrap_as_radiograph(hand_pixels(bits=8), Wrapping(taken_at=NOW)))

    assert (source.sex.sex, source.chronological_age, source.laterality) == (None, None, None)


def test_the_same_picture_is_the_same_instance_unless_told_otherwise() -> None:
    pixels = hand_pixels(bits=8)

    first = wrap_as_radiograph(pixels, Wrapping(taken_at=NOW))
    same = wrap_as_radiograph(pixels, Wrapping(taken_at=NOW))
    other = wrap_as_radiograph(pixels, Wrapping(taken_at=NOW, uid_seed="2"))

    assert first.SOPInstanceUID == same.SOPInstanceUID
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert len(first.SOPInstanceUID) <= 64
