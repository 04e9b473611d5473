"""What a second content under the same SOP Instance UID means (DESIGN, section 4)."""

from enum import Enum, auto
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from schemas.errors import UnsuitableImageError
from worker.inference.attributes import lenient_values, text_of
from worker.inference.decoding import stored_values
from worker.inference.pixels import display_values

#: what makes a new revision when it changes: sex, age, patient, study, side
RELEVANT: Final = (
    "PatientSex",
    "PatientBirthDate",
    "PatientAge",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "SeriesDate",
    "StudyDate",
    "ImageLaterality",
    "Laterality",
)


class Change(Enum):
    """How a resent object differs from the one that the current result was made from."""

    NOTHING_RELEVANT = auto()  #: same image, same facts
    FACTS = auto()  #: same image; the result says something that is no longer so
    IMAGE = auto()  #: another image under the same UID: nobody can say which is right


def change_between(former: Dataset, newer: Dataset) -> Change:
    """Compare two contents of one SOP Instance UID.

    Images are the same if their stored values are, or what is to be shown is: a PACS may turn
    MONOCHROME1 into MONOCHROME2. A former content without readable pixels has no image that
    could be replaced, so anything readable is new.
    """
    before = _shown(former)
    if before is None:
        return Change.FACTS
    after = _shown(newer)
    is_shown_alike = after is not None and _is_alike(before, after)
    if not is_shown_alike and (after is None or not _is_stored_alike(former, newer)):
        return Change.IMAGE
    is_same = is_shown_alike and _facts(former) == _facts(newer)
    return Change.NOTHING_RELEVANT if is_same else Change.FACTS


def _shown(dataset: Dataset) -> NDArray[np.float32] | None:
    try:
        return display_values(dataset)
    except UnsuitableImageError:
        return None


def _is_alike(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Say whether two images differ by rounding alone: an eighth of a step of 16 bits."""
    if before.shape != after.shape:
        return False
    tolerance = float(np.abs(before).max()) / (8 * 65535)
    return np.allclose(before, after, rtol=0, atol=tolerance)


def _is_stored_alike(former: Dataset, newer: Dataset) -> bool:
    return bool(np.array_equal(stored_values(former), stored_values(newer)))


def _facts(dataset: Dataset) -> tuple[str, ...]:
    with lenient_values():
        return tuple(text_of(dataset, keyword) for keyword in RELEVANT)
