"""A picture as the DICOM file that a detector might have made of it, read as the worker reads it.

Evaluations use it: the labelled radiographs are pictures, and what is to be known is the error of
what comes by DICOM. Nothing that serves does.
"""

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import UID, JPEGLSLossless, RLELossless

from worker.inference.pictures import Stored, Wrapping, wrap_as_radiograph
from worker.inference.pixels import display_values

_TWELVE_BITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class FileForm:
    """One way in which a file may hold the same picture; none of them loses anything."""

    name: str
    is_inverted: bool = False  #: MONOCHROME1: low values are bright
    has_twelve_bits: bool = False  #: of 16; else the depth of the picture
    compression: UID | None = None


#: a picture gets one of them by its pixels, so that the same picture is always the same file
FORMS: Final = (
    FileForm(name="8 bits"),
    FileForm(name="8 bits, MONOCHROME1", is_inverted=True),
    FileForm(name="12 bits, RLE", has_twelve_bits=True, compression=RLELossless),
    FileForm(
        name="12 bits, MONOCHROME1, JPEG-LS",
        is_inverted=True,
        has_twelve_bits=True,
        compression=JPEGLSLossless,
    ),
)
_TAKEN_AT = datetime(2026, 1, 1, tzinfo=UTC)


def choose_form(pixels: Stored) -> FileForm:
    """Return the form that a picture gets."""
    return FORMS[zlib.crc32(pixels.tobytes()) % len(FORMS)]


def _negative(pixels: Stored, *, most: int) -> Stored:
    if pixels.dtype == np.uint8:
        return np.asarray(most - pixels, dtype=np.uint8)
    return np.asarray(most - pixels, dtype=np.uint16)


def to_file(pixels: Stored, form: FileForm) -> bytes:
    """Return a DX file that holds a picture, ``(rows, columns)`` uint8 or uint16, bone bright."""
    stored, bits = pixels, 8 * pixels.dtype.itemsize
    if form.has_twelve_bits and bits < _TWELVE_BITS:
        stored, bits = pixels.astype(np.uint16) * np.uint16(2 ** (_TWELVE_BITS - 8)), _TWELVE_BITS
    if form.is_inverted:
        stored = _negative(stored, most=2**bits - 1)
    dataset = wrap_as_radiograph(stored, Wrapping(taken_at=_TAKEN_AT, bits_stored=bits))
    if form.is_inverted:
        dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    if form.compression is not None:
        dataset.compress(form.compression, generate_instance_uid=False)
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


class WorkerDicomPath:
    """Satisfies ``models.evaluation.dicom_path.DicomPath``."""

    def read_file(self, path: Path) -> NDArray[np.float32]:
        """Return the display values of a file.

        Raises:
            UnsuitableImageError: the worker would refuse it.
        """
        return display_values(dcmread(path))

    def round_trip(self, pixels: Stored) -> NDArray[np.float32]:
        """Return the display values of the file that a picture makes."""
        return display_values(dcmread(BytesIO(to_file(pixels, choose_form(pixels)))))
