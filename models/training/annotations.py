"""The annotation table of a data folder: one row for each image, ages in months."""

import csv
import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError
from schemas.images import Sex

#: left out by one of the published lists of this data set (data/README.md)
LEFT_OUT = frozenset({"rsna_1435"})

#: folders (zips) with labelled hands, and how they are read
LABELLED = ("rsna_299", "rsna_half", "rsna_full")


class NoTrainingDataError(UsageError):
    """The folder with radiographs is not there, or not complete."""

    code = "train.no_data"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"{path} does not exist. Training and evaluation read annotation.csv and the zips "
            "beside it; set BONEAGE_TEST_DATA to the folder that holds them."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One labelled radiograph."""

    image_id: str  #: file name inside its folder
    folder: str  #: folder, and name of the zip without ``.zip``
    patient_id: str
    sex: Sex
    age_months: float  #: bone age that a clinical report gave


def read_annotations(data: Path) -> list[Annotation]:
    """Return all labelled radiographs of ``annotation.csv`` that may be used, in file order.

    Raises:
        NoTrainingDataError: the table is not there.
    """
    path = data / "annotation.csv"
    if not path.exists():
        raise NoTrainingDataError(path=path)
    with path.open(newline="", encoding="utf-8") as lines:
        return [
            Annotation(
                image_id=row["image_ID"],
                folder=row["dir"],
                patient_id=row["patient_ID"],
                sex=Sex(row["sex"]),
                age_months=float(row["bone_age"]),
            )
            for row in csv.DictReader(lines)
            if row["patient_ID"] not in LEFT_OUT
        ]


def digest_of_annotations(annotations: Sequence[Annotation]) -> str:
    """Return sha256 over ids, sexes and ages, hexadecimal; the order does not matter."""
    lines = sorted(
        f"{one.folder}/{one.image_id},{one.patient_id},{one.sex.value},{one.age_months:.2f}"
        for one in annotations
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class RadiographArchive:
    """The zips of a data folder, opened once each.

    Raises:
        NoTrainingDataError: on the first read from a zip that is not there.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._zips: dict[str, zipfile.ZipFile] = {}

    def read(self, *, folder: str, image_id: str) -> NDArray[np.uint8]:
        """Return one decoded image, ``(rows, columns)`` uint8, bone bright."""
        path = self._data / f"{folder}.zip"
        if folder not in self._zips:
            if not path.exists():
                raise NoTrainingDataError(path=path)
            self._zips[folder] = zipfile.ZipFile(path)
        stored = self._zips[folder].read(f"{folder}/{image_id}")
        pixels = cv2.imdecode(np.frombuffer(stored, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise NoTrainingDataError(path=path / folder / image_id)
        return np.asarray(pixels, dtype=np.uint8)
