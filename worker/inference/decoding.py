"""Stored values of one single-frame grey image, out of any transfer syntax that we take."""

from typing import Final

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGExtended12Bit

from schemas.errors import UnsuitableImageError
from schemas.refusals import RefusalReason
from worker.inference.attributes import code_of, lenient_values, text_of

GREY = ("MONOCHROME1", "MONOCHROME2")

#: twice the most that we know of (43 cm by 43 cm at 0.1 mm are 18 million pixels, film scans of
#: 24 cm by 30 cm at 0.05 mm 29 million): above it a header lies, or wants our memory
MOST_PIXELS: Final = 60_000_000


def stored_values(dataset: Dataset) -> NDArray[np.integer]:
    """Return the stored values, ``(rows, columns)``, as integers without padding bits.

    Raises:
        UnsuitableImageError: no image, one that we do not read, or one that does not decode.
    """
    with lenient_values():
        _require_pixel_data(dataset)
        _require_grey_frame(dataset)
        _require_plain_bits(dataset)
        stored = _decoded(dataset)
    if stored.shape != (dataset.Rows, dataset.Columns) or not np.issubdtype(
        stored.dtype, np.integer
    ):
        raise UnsuitableImageError(
            RefusalReason.UNREADABLE_PIXELS,
            keyword="PixelData",
            found="other values than Rows and Columns tell",
            expected="one value for each pixel",
        )
    return stored


def _require_pixel_data(dataset: Dataset) -> None:
    if "PixelData" not in dataset or not dataset.PixelData:
        raise UnsuitableImageError(
            RefusalReason.NO_PIXEL_DATA, keyword="PixelData", found="absent", expected="an image"
        )


def _require_grey_frame(dataset: Dataset) -> None:
    """Let pass one frame of one grey sample, and no more pixels than a detector has."""
    photometric = code_of(dataset, "PhotometricInterpretation")
    if photometric not in GREY:
        raise _unsupported("PhotometricInterpretation", photometric, " and ".join(GREY))
    for keyword, expected in (("SamplesPerPixel", "1"), ("NumberOfFrames", "1")):
        found = text_of(dataset, keyword) or "1"
        if found != expected:
            raise _unsupported(keyword, _number(found), expected)
    rows, columns = (text_of(dataset, keyword) for keyword in ("Rows", "Columns"))
    if not (rows.isdecimal() and columns.isdecimal()):
        raise _unsupported("Rows and Columns", "absent", "their number")
    if not 0 < int(rows) * int(columns) <= MOST_PIXELS:
        raise _unsupported("Rows x Columns", f"{rows} x {columns}", f"1 to {MOST_PIXELS} pixels")


def _require_plain_bits(dataset: Dataset) -> None:
    """Let pass values that fill the low bits of whole bytes (PS3.3 C.8.11.3, High Bit)."""
    names = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    texts = [text_of(dataset, name) for name in names]
    if not all(text.isdecimal() for text in texts):
        raise _unsupported(" or ".join(names), "absent", "all of them")
    allocated, stored, high, representation = map(int, texts)
    if allocated not in (8, 16, 32) or not 1 < stored <= min(allocated, 16):
        raise _unsupported(
            "BitsStored of BitsAllocated", f"{stored} of {allocated}", "2 to 16 bits"
        )
    if high != stored - 1:
        raise _unsupported("HighBit", str(high), str(stored - 1))
    if representation not in (0, 1):
        raise _unsupported("PixelRepresentation", str(representation), "0 and 1")


def _decoded(dataset: Dataset) -> NDArray[np.integer]:
    """Decode, whatever plug-in can; the bits above Bits Stored are cleared by pydicom."""
    try:
        if _is_extended_jpeg(dataset):
            return _decode_extended_jpeg(dataset)
        stored: NDArray[np.integer] = pixel_array(dataset)
    except MemoryError:
        raise
    except Exception as error:  # plug-ins raise whatever they like at broken bytes
        raise UnsuitableImageError(
            RefusalReason.UNREADABLE_PIXELS,
            keyword="PixelData",
            found=f"not decodable ({type(error).__name__})",
            expected="what its transfer syntax says",
        ) from error
    return stored


def _is_extended_jpeg(dataset: Dataset) -> bool:
    """Say whether this is 12-bit JPEG, which pydicom gives to no permissive plug-in."""
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    return bool(syntax == JPEGExtended12Bit and dataset.BitsAllocated == 16)  # noqa: PLR2004 - bits


def _decode_extended_jpeg(dataset: Dataset) -> NDArray[np.integer]:
    """Decode one 12-bit JPEG frame (process 4) by GDCM itself."""
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(dataset.PhotometricInterpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(
        gdcm.PixelFormat(1, 16, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation)
    )
    content = image.GetBuffer().encode("utf-8", "surrogateescape")  # char* comes as str
    kind_of_value = np.int16 if dataset.PixelRepresentation else np.uint16
    return np.frombuffer(content, dtype=kind_of_value).reshape(dataset.Rows, dataset.Columns)


def _unsupported(keyword: str, found: str, expected: str) -> UnsuitableImageError:
    return UnsuitableImageError(
        RefusalReason.UNSUPPORTED_IMAGE, keyword=keyword, found=found, expected=expected
    )


def _number(text: str) -> str:
    return text if text.isdecimal() else "not a number"
