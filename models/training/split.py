"""Which child belongs to which part; decided once, committed, and the same for every release.

``split.csv`` holds the first 16 hexadecimal digits of the sha256 of each patient's identifier. The
part follows from a second hash with a seed, so that a new child can be added without moving any
other. Run ``python -m models.training.split DATA`` to write the file again.
"""

import argparse
import csv
import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from models.training.annotations import Annotation, read_annotations

SPLIT_FILE = Path(__file__).with_name("split.csv")
SEED = "boneage split 2026"
HASH_DIGITS = 16


class Part(StrEnum):
    """What a child's images are used for."""

    TRAIN = "train"  #: fits weights
    VALIDATE = "validate"  #: watched while training; chooses between recipes
    CALIBRATE = "calibrate"  #: fits the intervals, nothing else
    TEST = "test"  #: seen by `evaluate` alone


#: upper bounds of the seeded hash, 0 … 1, for each folder; the rest trains.
#: Native-aspect children are few and are wanted for testing the clinical path.
SHARES: Mapping[str, tuple[tuple[float, Part], ...]] = {
    "rsna_full": ((1.0, Part.TEST),),
    "rsna_half": ((0.45, Part.TEST), (0.75, Part.CALIBRATE), (1.0, Part.TRAIN)),
    "rsna_299": (
        (0.048, Part.TEST),  # about 600 children
        (0.104, Part.CALIBRATE),  # about 700
        (0.136, Part.VALIDATE),  # about 400
        (1.0, Part.TRAIN),
    ),
}


def hash_patient(patient_id: str) -> str:
    """Return the digits that stand for a patient in the split file."""
    return hashlib.sha256(patient_id.encode()).hexdigest()[:HASH_DIGITS]


def draw(patient_id: str) -> float:
    """Return a number in 0 … 1 that depends on the patient and the seed alone."""
    digest = hashlib.sha256(f"{SEED}:{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign_parts(annotations: Sequence[Annotation]) -> dict[str, Part]:
    """Return patient hash → part.

    A patient with images in several folders gets the part of the folder that comes first in
    ``SHARES``, for all of them.
    """
    folder_of: dict[str, str] = {}
    order = list(SHARES)
    for one in annotations:
        known = folder_of.get(one.patient_id)
        if known is None or order.index(one.folder) < order.index(known):
            folder_of[one.patient_id] = one.folder
    return {
        hash_patient(patient): next(part for bound, part in SHARES[folder] if draw(patient) < bound)
        for patient, folder in folder_of.items()
    }


def write_split(annotations: Sequence[Annotation], path: Path = SPLIT_FILE) -> None:
    """Write the split file, sorted by hash."""
    parts = assign_parts(annotations)
    lines = ["patient,part", *(f"{patient},{parts[patient]}" for patient in sorted(parts))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_split(path: Path = SPLIT_FILE) -> dict[str, Part]:
    """Return patient hash → part from the committed file."""
    with path.open(newline="", encoding="utf-8") as lines:
        return {row["patient"]: Part(row["part"]) for row in csv.DictReader(lines)}


def digest_of_split(path: Path = SPLIT_FILE) -> str:
    """Return sha256 of the split file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def select(
    annotations: Sequence[Annotation], part: Part, parts: Mapping[str, Part]
) -> list[Annotation]:
    """Return the annotations of one part."""
    return [one for one in annotations if parts.get(hash_patient(one.patient_id)) is part]


def main() -> None:
    """Write the split file from a data folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", type=Path)
    write_split(read_annotations(parser.parse_args().data))


if __name__ == "__main__":
    main()
