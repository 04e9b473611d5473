"""Pictures that are not DICOM yet: read them, and wrap them as a DX object of one patient."""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from schemas.errors import UnsuitableImageError
from schemas.images import Sex
from schemas.refusals import RefusalReason

Stored = NDArray[np.uint8] | NDArray[np.uint16]

#: depth and channels as stored; unlike IMREAD_UNCHANGED it obeys the orientation, and drops alpha
_AS_SEEN = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
#: part of the range that channels of a grey picture may differ: WebP turns grey into YUV and back,
#: and all of 210 radiographs came back with one level of 255; no colour that a person sees is less
_MOST_TINT = 2 / 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """What a picture does not say about itself; what is ``None`` or "" stays empty."""

    taken_at: datetime  #: local time of the image
    patient_id: str = ""
    patient_name: str = ""
    sex: Sex | None = None
    birth_date: date | None = None
    laterality: str = "U"  #: L, R, or U for unknown (PS3.3 C.8.11.5.1, Image Laterality)
    study_description: str = "XR BONE AGE"
    bits_stored: int | None = None  #: of the 16 of a uint16 picture; none: all
    uid_seed: str = ""  #: another seed gives other UIDs to the same picture


def read_picture(path: Path) -> Stored:
    """Return the grey values, ``(rows, columns)`` uint8 or uint16, of a PNG, JPEG, WebP or TIFF.

    Bone is taken to be bright: a picture has no attribute that could say otherwise.

    Raises:
        UnsuitableImageError: not a picture, or one with colours.
        OSError: the file cannot be read.
    """
    return decode_picture(path.read_bytes())


def decode_picture(content: bytes) -> Stored:
    """Return the grey values of a picture that is in memory; as ``read_picture``.

    The picture is turned and mirrored as its EXIF orientation (CIPA DC-008, tag 0x0112) asks.

    Raises:
        UnsuitableImageError: not a picture, or one with colours.
    """
    encoded = np.frombuffer(content, dtype=np.uint8)
    decoded = cv2.imdecode(encoded, _AS_SEEN) if encoded.size else None
    if decoded is None or decoded.dtype not in (np.uint8, np.uint16):
        raise UnsuitableImageError(
            RefusalReason.UNREADABLE_PIXELS,
            keyword="the file",
            found="not a picture of 8 or 16 bits",
            expected="DICOM, PNG, JPEG, WebP and TIFF",
        )
    grey = decoded if decoded.ndim == 2 else _grey_channel(decoded)  # noqa: PLR2004 - (rows, columns)
    stored: Stored = np.ascontiguousarray(grey)
    return stored


def _grey_channel(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the one channel of a grey picture that was saved as colours."""
    tint = np.ptp(picture, axis=2).max()
    if tint > _MOST_TINT * np.iinfo(picture.dtype).max:
        raise UnsuitableImageError(
            RefusalReason.UNSUPPORTED_IMAGE,
            keyword="the picture",
            found="coloured",
            expected="grey pictures",
        )
    return picture[:, :, 1]  # green, which YUV keeps best


def wrap_as_radiograph(pixels: Stored, wrapping: Wrapping) -> Dataset:
    """Return a complete DX file, FOR PRESENTATION, MONOCHROME2, that holds ``pixels``.

    Args:
        pixels: ``(rows, columns)`` uint8 or uint16, bone bright.
        wrapping: the patient and the study. The UIDs follow from the pixels and from all of it,
            so that the same picture is the same instance.
    """
    dataset = Dataset()
    _set_patient(dataset, wrapping)
    _set_study(dataset, wrapping)
    _set_acquisition(dataset, wrapping)
    _set_pixels(dataset, pixels, bits_stored=wrapping.bits_stored)
    _set_uids(dataset, seed=hashlib.sha256(repr(wrapping).encode() + pixels.tobytes()).hexdigest())
    return dataset


def _set_patient(dataset: Dataset, wrapping: Wrapping) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = wrapping.patient_name
    dataset.PatientID = wrapping.patient_id
    dataset.PatientBirthDate = f"{wrapping.birth_date:%Y%m%d}" if wrapping.birth_date else ""
    dataset.PatientSex = wrapping.sex.value if wrapping.sex else ""


def _set_study(dataset: Dataset, wrapping: Wrapping) -> None:
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, f"{wrapping.taken_at:%Y%m%d}")
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, f"{wrapping.taken_at:%H%M%S}")
    for keyword in ("AccessionNumber", "ReferringPhysicianName", "StudyID", "Manufacturer"):
        setattr(dataset, keyword, "")
    dataset.StudyDescription = wrapping.study_description
    dataset.Modality = "DX"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1


def _set_acquisition(dataset: Dataset, wrapping: Wrapping) -> None:
    """Set the DX modules around the pixels (PS3.3 C.8.11)."""
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = wrapping.laterality
    dataset.BodyPartExamined = "HAND"
    dataset.AnatomicRegionSequence = Sequence([_code("85562004", "SCT", "Hand")])
    dataset.ViewPosition = "PA"
    dataset.PatientOrientation = ""
    dataset.DetectorType = ""
    dataset.PositionerType = ""
    dataset.ImagerPixelSpacing = [0.15, 0.15]  # type 1 in DX: a usual detector; nothing is measured
    dataset.AcquisitionContextSequence = Sequence([])
    dataset.BurnedInAnnotation = "YES"  # nobody has looked
    dataset.LossyImageCompression = "00"


def _set_pixels(dataset: Dataset, pixels: Stored, *, bits_stored: int | None) -> None:
    allocated = pixels.dtype.itemsize * 8
    bits = bits_stored or allocated
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits  # the identity, C.11.2.1.2
    vr = "OB" if allocated == 8 else "OW"  # noqa: PLR2004 - PS3.5 A.2
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", vr, content + b"\0" * (len(content) % 2))


def _set_uids(dataset: Dataset, *, seed: str) -> None:
    def uid(kind: str) -> str:
        digest = hashlib.sha256(f"{kind} {seed}".encode()).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"  # PS3.5 B.2

    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid("instance")
    dataset.StudyInstanceUID = uid("study")
    dataset.SeriesInstanceUID = uid("series")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
