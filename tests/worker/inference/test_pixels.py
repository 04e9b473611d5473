import struct
from collections.abc import Sequence as Listed
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from schemas.errors import UnsuitableImageError
from schemas.refusals import RefusalReason
from tests.builders import (
    ABSENT,
    LOSSLESS_SYNTAXES,
    hand_pixels,
    hand_radiograph,
    read_back,
    real_file,
    real_hand,
)
from worker.inference.pictures import Stored
from worker.inference.pixels import (
    LookupTable,
    ValueRange,
    Window,
    apply_window,
    darken_padding,
    display_values,
    invert,
    look_up,
    padding_mask,
)

UNIT = ValueRange(low=0.0, high=1.0)
NO_WINDOW = {"WindowCenter": ABSENT, "WindowWidth": ABSENT}


def drawn(*rows: Listed[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def row_of(values: list[int], *, bits: int) -> Stored:
    row = [values]
    return np.array(row, dtype=np.uint8) if bits <= 8 else np.array(row, dtype=np.uint16)


def refusal_of(dataset: Dataset) -> UnsuitableImageError:
    with pytest.raises(UnsuitableImageError) as refused:
        display_values(dataset)
    return refused.value


# each step, on arrays that fit on paper


def test_a_linear_window_ends_half_a_value_early() -> None:  # PS3.3 C.11.2.1.2.1
    values = drawn([0, 2047, 2048, 4095])

    shown = apply_window(values, Window(function="LINEAR", center=2048, width=4096), UNIT)

    assert shown == pytest.approx(drawn([0, 2047 / 4095, 2048 / 4095, 1]), abs=1e-6)


def test_an_exact_linear_window_has_its_center_in_the_middle() -> None:  # C.11.2.1.3.2
    shown = apply_window(
        drawn([0, 5, 10, 15, 20]), Window(function="LINEAR_EXACT", center=10, width=10), UNIT
    )

    assert shown == pytest.approx(drawn([0, 0, 0.5, 1, 1]))


def test_a_sigmoid_window_follows_its_formula() -> None:  # C.11.2.1.3.1
    shown = apply_window(drawn([0, 10, 14]), Window(function="SIGMOID", center=10, width=8), UNIT)

    assert shown == pytest.approx(drawn([1 / (1 + np.exp(5)), 0.5, 1 / (1 + np.exp(-2))]))


def test_a_sigmoid_window_does_not_overflow_far_outside() -> None:
    shown = apply_window(
        drawn([-1e9, 1e9]), Window(function="SIGMOID", center=0, width=0.001), UNIT
    )

    assert shown == pytest.approx(drawn([0, 1]))


@pytest.mark.parametrize(
    ("function", "width"),
    [("LINEAR", 1.0), ("LINEAR", 0.0), ("LINEAR_EXACT", 0.0), ("SIGMOID", -3.0)],
)
def test_a_window_without_width_is_refused(function: str, width: float) -> None:
    with pytest.raises(UnsuitableImageError, match="WindowWidth"):
        apply_window(drawn([1, 2]), Window(function=function, center=1, width=width), UNIT)


def test_a_lookup_table_is_held_at_its_ends() -> None:
    table = LookupTable(first=10, entries=drawn([5, 6, 7])[0], bits=3)

    shown, possible = look_up(np.array([[0, 10, 11, 12, 99]]), table)

    assert shown.tolist() == [[5, 5, 6, 7, 7]]
    assert possible == ValueRange(low=0, high=7)


def test_inverting_twice_gives_the_same_values() -> None:
    values, possible = drawn([-3, 0, 8]), ValueRange(low=-8, high=8)

    assert invert(values, possible).tolist() == [[3, 0, -8]]
    assert invert(invert(values, possible), possible).tolist() == values.tolist()


def test_padding_gets_the_darkest_value_of_the_image() -> None:
    shown = darken_padding(drawn([9, 3, 5]), padding=np.array([[True, False, False]]))

    assert shown.tolist() == [[3, 3, 5]]


def test_padding_may_be_a_range_given_in_either_order() -> None:
    mask = padding_mask(np.array([[-5, -3, 0, 4]]), limits=(-3, -5))

    assert mask is not None
    assert mask.tolist() == [[True, True, False, False]]


# the whole recipe


def test_bone_is_bright() -> None:
    shown = display_values(hand_radiograph())

    assert shown.dtype == np.float32
    assert shown[150, 130] > shown[10, 10]


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        NO_WINDOW,
        {"Modality": "CR"},
        {"PresentationLUTShape": ABSENT},
        {"WindowCenter": [2048, 500], "WindowWidth": [4096, 9]},
        {"VOILUTFunction": "SIGMOID", "WindowCenter": 2047.5},
    ],
)
def test_an_inverted_pair_gives_the_same_display_values(overrides: dict[str, object]) -> None:
    bright = hand_radiograph(PhotometricInterpretation="MONOCHROME2", **overrides)
    dark = hand_radiograph(PhotometricInterpretation="MONOCHROME1", **overrides)
    assert bright.PixelData != dark.PixelData

    # float32 next to 4095 has steps of 0.0003: a few of them, of 4095
    np.testing.assert_allclose(display_values(bright), display_values(dark), rtol=0, atol=2e-3)


def test_an_inverted_pair_with_rescaling_gives_the_same_display_values() -> None:
    # the dark one counts down from 1000: 1000 - x' = 1000 - (4095 - x)
    bright = hand_radiograph(RescaleSlope=1, RescaleIntercept=-1000, **NO_WINDOW)
    dark = hand_radiograph(
        PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=-1000, **NO_WINDOW
    )

    np.testing.assert_array_equal(display_values(bright), display_values(dark))


def test_an_inverted_pair_with_padding_gives_the_same_display_values() -> None:
    pixels = hand_pixels() + np.uint16(10)
    pixels[:, :20] = 0
    bright = hand_radiograph(pixels, BitsStored=12, PixelPaddingValue=0)
    dark = hand_radiograph(
        pixels, BitsStored=12, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=4095
    )

    np.testing.assert_allclose(display_values(bright), display_values(dark), rtol=0, atol=2e-3)
    assert display_values(bright)[0, 0] == display_values(bright)[:, 20:].min()


@given(data=st.data(), bits=st.integers(2, 16), is_windowed=st.booleans())
def test_every_inverted_pair_gives_the_same_display_values(
    data: st.DataObject, bits: int, *, is_windowed: bool
) -> None:
    value = st.integers(0, 2**bits - 1)
    row = data.draw(st.lists(value, min_size=2, max_size=6))
    pixels = row_of(row, bits=bits)
    window = {} if is_windowed else NO_WINDOW

    bright, dark = (
        display_values(
            hand_radiograph(pixels, BitsStored=bits, PhotometricInterpretation=each, **window)
        )
        for each in ("MONOCHROME2", "MONOCHROME1")
    )

    # a few steps of float32 at the greatest value
    np.testing.assert_allclose(bright, dark, rtol=0, atol=2.0**bits * 1e-6)
    assert bright == pytest.approx(drawn(row), abs=2.0**bits * 1e-6)


@pytest.mark.parametrize(
    ("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")]
)
def test_a_header_that_says_two_polarities_is_refused(photometric: str, shape: str) -> None:
    dataset = hand_radiograph(PhotometricInterpretation=photometric, PresentationLUTShape=shape)

    refused = refusal_of(dataset)

    assert refused.reason is RefusalReason.UNSUPPORTED_IMAGE
    assert refused.detail == f"PresentationLUTShape: {shape} with {photometric}"


def test_without_a_window_the_stored_values_are_shown() -> None:
    dataset = hand_radiograph(**NO_WINDOW)

    np.testing.assert_array_equal(display_values(dataset), dataset.pixel_array)


def test_a_window_as_wide_as_the_range_changes_nothing() -> None:
    dataset = hand_radiograph()

    np.testing.assert_allclose(display_values(dataset), dataset.pixel_array, rtol=0, atol=2e-3)


def test_rescaling_comes_before_the_window() -> None:
    dataset = hand_radiograph(
        np.array([[0, 50, 100]], dtype=np.uint8),
        RescaleSlope=2,
        RescaleIntercept=-100,
        VOILUTFunction="LINEAR_EXACT",
        WindowCenter=0,
        WindowWidth=200,
    )

    assert display_values(dataset).tolist() == [[-100, 155, 410]]


def test_a_voi_lut_goes_before_a_window() -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.add_new("LUTData", "US", [0, 100, 400, 900])
    dataset = hand_radiograph(
        np.array([[0, 1, 2, 3]], dtype=np.uint8), VOILUTSequence=Sequence([table])
    )

    assert display_values(dataset).tolist() == [[0, 100, 400, 900]]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_lookup_table_of_words_is_read_in_every_byte_order(tmp_path: Path, syntax: UID) -> None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 12])
    table.add_new("LUTData", "OW", struct.pack(f"{order}4H", 0, 100, 400, 900))
    dataset = hand_radiograph(
        np.array([[0, 1, 2, 3]], dtype=np.uint16),
        BitsStored=12,
        ModalityLUTSequence=Sequence([table]),
    )
    dataset.WindowCenter = dataset.WindowWidth = ""

    received = read_back(dataset, tmp_path / "a.dcm", transfer_syntax=syntax)

    assert display_values(received).tolist() == [[0, 100, 400, 900]]


def test_signed_values_are_read_as_signed() -> None:
    stored = np.array([[-2048, 0, 2047]], dtype=np.int16)
    dataset = hand_radiograph(
        (stored & 0xFFF).astype(np.uint16), BitsStored=12, PixelRepresentation=1, **NO_WINDOW
    )

    assert display_values(dataset).tolist() == [[-2048, 0, 2047]]


def test_bits_above_bits_stored_are_no_values() -> None:
    stored = np.array([[0xF001, 0x1002]], dtype=np.uint16)  # an old overlay in the high bits
    dataset = hand_radiograph(stored, BitsStored=12, **NO_WINDOW)

    assert display_values(dataset).tolist() == [[1, 2]]


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_lossless_transfer_syntax_changes_no_value(tmp_path: Path, syntax: UID) -> None:
    dataset = hand_radiograph()

    received = read_back(dataset, tmp_path / "a.dcm", transfer_syntax=syntax)

    assert received.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(display_values(received), display_values(dataset))


@pytest.mark.parametrize(("syntax", "bits"), [(JPEGBaseline8Bit, 8), (JPEGExtended12Bit, 12)])
def test_a_lossy_transfer_syntax_changes_values_little(
    tmp_path: Path, syntax: UID, bits: int
) -> None:
    dataset = hand_radiograph(hand_pixels(bits=bits), BitsStored=bits, **NO_WINDOW)

    received = read_back(dataset, tmp_path / "a.dcm", transfer_syntax=syntax)

    # GDCM encodes at its best quality: one step of the quantisation
    np.testing.assert_allclose(display_values(received), display_values(dataset), atol=2)


# what is refused


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"PixelData": ABSENT}, RefusalReason.NO_PIXEL_DATA),
        ({"PixelData": b""}, RefusalReason.NO_PIXEL_DATA),
        ({"PixelData": b"\0" * 100}, RefusalReason.UNREADABLE_PIXELS),
        ({"NumberOfFrames": 2}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"SamplesPerPixel": 3}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"PhotometricInterpretation": "RGB"}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"PhotometricInterpretation": ABSENT}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"Rows": ABSENT}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"Rows": 0}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"Rows": 65535, "Columns": 65535}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"BitsStored": ABSENT}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"BitsStored": 1, "HighBit": 0}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"BitsStored": 17, "HighBit": 16}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"HighBit": 15}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"PixelRepresentation": 2}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"WindowWidth": 0}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"VOILUTFunction": "LOG"}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"VOILUTSequence": Sequence([Dataset()])}, RefusalReason.UNSUPPORTED_IMAGE),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}, RefusalReason.NO_PIXEL_DATA),
    ],
    ids=str,
)
def test_what_is_no_single_grey_frame_is_refused_with_a_reason(
    overrides: dict[str, object], reason: RefusalReason
) -> None:
    assert refusal_of(hand_radiograph(**overrides)).reason is reason


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda syntax: syntax.name)
def test_broken_compressed_pixels_are_refused(tmp_path: Path, syntax: UID) -> None:
    received = read_back(hand_radiograph(), tmp_path / "a.dcm", transfer_syntax=syntax)
    received.PixelData = received.PixelData[:200]

    assert refusal_of(received).reason is RefusalReason.UNREADABLE_PIXELS


def test_a_refusal_repeats_no_free_text() -> None:
    dataset = hand_radiograph(PhotometricInterpretation="Canary, Bird")

    assert "Canary" not in str(refusal_of(dataset))


# real images


@pytest.mark.parametrize("name", ["rsna_full/1378.png", "rsna_half/14729.webp"])
def test_a_real_hand_survives_wrapping_and_compression(tmp_path: Path, name: str) -> None:
    picture = real_hand(name)

    for syntax in LOSSLESS_SYNTAXES:
        wrapped = hand_radiograph(picture, **NO_WINDOW)
        received = read_back(wrapped, tmp_path / f"{syntax}.dcm", transfer_syntax=syntax)
        np.testing.assert_array_equal(display_values(received), picture)


@pytest.mark.parametrize(
    "name",
    ["RG1_J2KI.dcm", "RG2_RLE.dcm", "RG3_RLE.dcm", "gdcm-CR-MONO1-10-chest.dcm"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # their headers are odd; pydicom says so
def test_real_radiographs_of_other_parts_decode(name: str) -> None:
    from pydicom import dcmread  # noqa: PLC0415 - beside its one use

    shown = display_values(dcmread(real_file(f"dicom_not_hand/{name}")))

    assert shown.ndim == 2
    assert np.isfinite(shown).all()
    assert shown.std() > 0
