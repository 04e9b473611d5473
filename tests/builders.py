"""The smallest valid things, which take overrides: a test shows only what matters to it."""

import copy
import os
import zipfile
from dataclasses import replace
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Final

import cv2
import gdcm
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from schemas.images import Sex
from worker.inference.pictures import Stored, Wrapping, wrap_as_radiograph


class _Override(Enum):
    """Values with a name: two processes that collect the tests call them by the same one."""

    ABSENT = "absent"


ABSENT: Final = _Override.ABSENT  #: as an override: the attribute is not there at all

DATA = Path(os.environ.get("BONEAGE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

_ONLY_DX = (
    "PresentationIntentType",
    "ImageLaterality",
    "DetectorType",
    "PositionerType",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "AcquisitionContextSequence",
)
_NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_BY_PYDICOM = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
_BY_GDCM = {
    JPEGBaseline8Bit: gdcm.TransferSyntax.JPEGBaselineProcess1,
    JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
}
#: every transfer syntax that ``write_file`` can encode without losing a bit
LOSSLESS_SYNTAXES = (*_NATIVE, *_BY_PYDICOM, JPEGLossless, JPEGLosslessSV1)
#: and those that lose some: 8 bits, 12 bits
LOSSY_SYNTAXES = (JPEGBaseline8Bit, JPEGExtended12Bit)

_CHILD = Wrapping(
    taken_at=datetime(2026, 1, 5, 9, 30),  # noqa: DTZ001 - DICOM dates have no zone
    patient_id="4711",
    patient_name="Lind^Ada",
    sex=Sex.FEMALE,
    birth_date=date(2015, 3, 5),
    laterality="L",
    study_description="XR BONE AGE LEFT HAND",
)


def hand_pixels(*, rows: int = 320, columns: int = 256, bits: int = 12) -> Stored:
    """Return a drawn hand, ``(rows, columns)``, bone bright; it uses a third of the range."""
    canvas = np.zeros((320, 256), dtype=np.float32)
    fingers = ((60, 60), (95, 30), (130, 22), (165, 36), (218, 120))  # tips, (column, row)
    roots = ((92, 160), (112, 150), (132, 148), (152, 156), (170, 210))
    for brightness, width in ((0.45, 24), (1.0, 11)):  # flesh, then bone
        for tip, root in zip(fingers, roots, strict=True):
            cv2.line(canvas, tip, root, brightness, width)
            cv2.line(canvas, root, (128, 230), brightness, width)
        cv2.line(canvas, (118, 230), (116, 319), brightness, width)
        cv2.line(canvas, (140, 230), (142, 319), brightness, width)
    shaded = cv2.GaussianBlur(canvas, (0, 0), 2)
    grain = np.random.default_rng(2017).normal(0, 0.01, shaded.shape)
    unit = np.clip(cv2.resize(0.1 + 0.35 * (shaded + grain), (columns, rows)), 0, 1)
    kind = np.uint8 if bits <= 8 else np.uint16
    stored: Stored = np.round(unit * (2**bits - 1)).astype(kind)
    return stored


def hand_radiograph(pixels: Stored | None = None, /, **overrides: object) -> Dataset:
    """Return a DX file of a girl of ten; ``Modality="CR"`` or ``"OT"`` makes it CR or SC.

    Args:
        pixels: ``(rows, columns)``, bone bright; none: a drawn hand of 12 bits. With
            ``PhotometricInterpretation="MONOCHROME1"`` the same hand is stored inverted.
        overrides: attributes by keyword; ``ABSENT`` removes one. ``BitsStored`` also says what
            the values of ``pixels`` are: without it all their bits.
    """
    stored = hand_pixels() if pixels is None else pixels
    given = overrides.get("BitsStored", 12 if pixels is None else stored.dtype.itemsize * 8)
    bits_stored = given if isinstance(given, int) else 16
    is_inverted = overrides.get("PhotometricInterpretation") == "MONOCHROME1"
    if is_inverted:
        stored = (2**bits_stored - 1 - stored).astype(stored.dtype)
    dataset = wrap_as_radiograph(stored, replace(_CHILD, bits_stored=bits_stored))
    dataset.PresentationLUTShape = "INVERSE" if is_inverted else "IDENTITY"
    dataset.BurnedInAnnotation = "NO"
    dataset.PatientOrientation = ["R", "F"]
    dataset.StudyID = "1"
    _make(dataset, modality=str(overrides.get("Modality", "DX")))
    _override(dataset, overrides)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "")
    return dataset


def another_instance(dataset: Dataset, **overrides: object) -> Dataset:
    """Return a copy with a new SOP Instance UID, in the same study unless overridden."""
    changed = copy.deepcopy(dataset)
    changed.SOPInstanceUID = generate_uid()
    _override(changed, overrides)
    changed.file_meta.MediaStorageSOPInstanceUID = changed.SOPInstanceUID
    return changed


def write_file(
    dataset: Dataset, path: Path, *, transfer_syntax: UID = ExplicitVRLittleEndian
) -> Path:
    """Write ``dataset`` (uncompressed little endian) in a transfer syntax; return ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with disable_value_validation():
        _write(dataset, path, transfer_syntax)
    return path


def read_back(dataset: Dataset, path: Path, *, transfer_syntax: UID) -> Dataset:
    """Return ``dataset`` as a receiver reads it after ``write_file``."""
    return dcmread(write_file(dataset, path, transfer_syntax=transfer_syntax))


def _write(dataset: Dataset, path: Path, transfer_syntax: UID) -> None:
    if transfer_syntax in _BY_GDCM:
        dataset.save_as(path, enforce_file_format=True)
        _transcode_by_gdcm(path, _BY_GDCM[transfer_syntax])
        return
    changed = copy.deepcopy(dataset)
    if transfer_syntax in _BY_PYDICOM:
        changed.compress(transfer_syntax, generate_instance_uid=False)
    else:
        if transfer_syntax == ExplicitVRBigEndian and dataset.BitsAllocated > 8:
            changed.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
        changed.file_meta.TransferSyntaxUID = transfer_syntax
    changed.save_as(path, enforce_file_format=True)


def real_hand(name: str) -> NDArray[np.uint8]:
    """Return a real radiograph, ``(rows, columns)``, such as ``"rsna_full/1378.png"``, or skip."""
    archive = DATA / f"{name.partition('/')[0]}.zip"
    if not archive.exists():
        pytest.skip(f"no real radiographs: {archive} is absent (set BONEAGE_TEST_DATA)")
    with zipfile.ZipFile(archive) as opened:
        content = np.frombuffer(opened.read(name), dtype=np.uint8)
    decoded = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    assert decoded is not None, name
    return decoded.astype(np.uint8, copy=False)


def real_file(name: str) -> Path:
    """Return the path of a file among the real test data, or skip."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is absent (set BONEAGE_TEST_DATA)")
    return path


def _make(dataset: Dataset, *, modality: str) -> None:
    if modality == "DX":
        return
    for keyword in _ONLY_DX:
        delattr(dataset, keyword)
    dataset.Laterality = "L"
    if modality == "CR":
        dataset.SOPClassUID = ComputedRadiographyImageStorage
        return
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.ConversionType = "WSD"
    del dataset.ViewPosition, dataset.ImagerPixelSpacing


def _override(dataset: Dataset, overrides: dict[str, object]) -> None:
    with disable_value_validation():  # malformed values are wanted here
        for keyword, value in overrides.items():
            if keyword in dataset:
                delattr(dataset, keyword)
            if value is not ABSENT:
                setattr(dataset, keyword, value)


def _transcode_by_gdcm(path: Path, syntax: int) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
