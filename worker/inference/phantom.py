"""The constancy phantom as a DICOM object, marked as what it is in every place a person looks."""

from datetime import datetime, timedelta
from typing import Final

from pydicom.dataset import Dataset

from schemas.images import Sex
from schemas.phantom import PHANTOM_PATIENT_ID, PHANTOM_PATIENT_NAME
from worker.inference.header import DAYS_PER_MONTH
from worker.inference.pictures import Stored, Wrapping, wrap_as_radiograph

PHANTOM_BITS: Final = 12  # what models.phantom draws


def phantom_radiograph(
    pixels: Stored,
    *,
    age_months: float,
    sex: Sex,
    taken_at: datetime,
    uid_seed: str = "",
) -> Dataset:
    """Return the phantom as a DX file of a patient who is ``age_months`` old on that day.

    Args:
        pixels: ``(rows, columns)`` uint8 or uint16, bone bright, as ``models.phantom`` draws it.
        age_months: chronological age that the header is to give; the birth date is reckoned back.
        sex: Patient's Sex.
        taken_at: local time of the image.
        uid_seed: each new seed is a new instance, so that a constancy check is a new job.
    """
    dataset = wrap_as_radiograph(
        pixels,
        Wrapping(
            taken_at=taken_at,
            patient_id=PHANTOM_PATIENT_ID,
            patient_name=PHANTOM_PATIENT_NAME,
            sex=sex,
            birth_date=(taken_at - timedelta(days=age_months * DAYS_PER_MONTH)).date(),
            laterality="L",
            study_description="XR BONE AGE PHANTOM",
            bits_stored=min(8 * pixels.dtype.itemsize, PHANTOM_BITS),
            uid_seed=uid_seed,
        ),
    )
    dataset.SeriesDescription = "PHANTOM, not a patient"
    dataset.ImageComments = "PHANTOM drawn by boneage-worker, not a patient"
    dataset.QualityControlImage = "YES"
    return dataset
