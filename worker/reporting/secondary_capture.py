"""The page, and the heatmap alone, as Secondary Captures, which every viewer shows."""

import re

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from schemas.codes import Concept
from schemas.images import SourceImage
from schemas.jobs import Outcome
from schemas.results import ResultContent
from worker.reporting import document
from worker.reporting.identities import (
    capture_series_uid,
    capture_uid,
    heatmap_series_uid,
    heatmap_uid,
)

SERIES_NUMBER = 9902
HEATMAP_SERIES_NUMBER = 9903
SERIES_DESCRIPTION = "Bone age AI page - research use only"
HEATMAP_SERIES_DESCRIPTION = "Bone age AI heatmap - research use only"
REFUSED_DESCRIPTION = "Bone age AI page - not estimated"
_SOURCE_IMAGE = Concept(
    value="121322", scheme="DCM", meaning="Source image for image processing operation"
)  # CID 7202
_COLOURS = 3
_DIRECTION = re.compile(r"[APRLHF]{1,3}")  # PS3.3 C.7.6.1.1.1


def build_secondary_capture(
    content: ResultContent, header: Dataset, page: NDArray[np.uint8]
) -> Dataset:
    """Return ``page`` as a complete file, ready for ``save_as(enforce_file_format=True)``.

    No pixel spacing and no patient orientation: a page has neither.

    Args:
        content: what was found.
        header: the source image's data set; its patient and study are copied as they are.
        page: ``(rows, columns, 3)`` RGB.
    """
    is_refusal = content.outcome is Outcome.REFUSED
    dataset = _new_capture(content, header, page, sop_instance_uid=capture_uid(content))
    dataset.SeriesInstanceUID = capture_series_uid(content)
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = REFUSED_DESCRIPTION if is_refusal else SERIES_DESCRIPTION
    dataset.DerivationDescription = _derivation(content)
    return dataset


def build_heatmap_capture(
    content: ResultContent, header: Dataset, picture: NDArray[np.uint8]
) -> Dataset:
    """Return the heatmap alone as a complete file, in a series of its own.

    Args:
        content: an estimate.
        header: as in ``build_secondary_capture``.
        picture: ``(rows, columns, 3)`` RGB, see ``worker.reporting.heatmap_picture``.
    """
    dataset = _new_capture(content, header, picture, sop_instance_uid=heatmap_uid(content))
    dataset.SeriesInstanceUID = heatmap_series_uid(content)
    dataset.SeriesNumber = HEATMAP_SERIES_NUMBER
    dataset.SeriesDescription = HEATMAP_SERIES_DESCRIPTION
    dataset.PatientOrientation = _orientation(content.source)
    dataset.DerivationDescription = _derivation(content)
    return dataset


def _new_capture(
    content: ResultContent, header: Dataset, page: NDArray[np.uint8], *, sop_instance_uid: str
) -> Dataset:
    """Return everything but the series and what was derived."""
    dataset = document.new_object(
        content,
        header,
        sop_class_uid=SecondaryCaptureImageStorage,
        sop_instance_uid=sop_instance_uid,
    )
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.BodyPartExamined = "HAND"
    dataset.Laterality = content.source.laterality or ""
    dataset.PatientOrientation = ""
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.BurnedInAnnotation = "YES"
    dataset.SourceImageSequence = [_source(content)]
    _set_pixels(dataset, page)
    return dataset


def _orientation(source: SourceImage) -> list[str] | str:
    """Return the directions of the source's rows and columns, which the picture keeps."""
    directions = list(source.patient_orientation)
    return directions if directions and all(map(_DIRECTION.fullmatch, directions)) else ""


def _derivation(content: ResultContent) -> str:
    if content.outcome is Outcome.REFUSED:
        return "Page that says why bone age was not estimated; research use only"
    return "Radiograph with signed contributions to the bone age estimate; research use only"


def _source(content: ResultContent) -> Dataset:
    item = document.image_reference(
        sop_class_uid=content.source.sop_class_uid,
        sop_instance_uid=content.source.sop_instance_uid,
    )
    item.PurposeOfReferenceCodeSequence = [_code(_SOURCE_IMAGE)]
    return item


def _code(concept: Concept) -> Dataset:
    item = Dataset()
    item.CodeValue = concept.value
    item.CodingSchemeDesignator = concept.scheme
    item.CodeMeaning = concept.meaning
    return item


def _set_pixels(dataset: Dataset, page: NDArray[np.uint8]) -> None:
    rows, columns, colours = page.shape
    if colours != _COLOURS or page.dtype != np.uint8:
        raise TypeError(f"a page is (rows, columns, 3) uint8, not {page.shape} {page.dtype}")
    dataset.SamplesPerPixel = colours
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    content = np.ascontiguousarray(page).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB"
