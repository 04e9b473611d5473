"""Which child belongs to which part; decided once, committed, and the same for every release.

``split.csv`` holds the first 16 hexadecimal digits of the sha256 of each patient's identifier. The
part follows from a second hash with a seed, so that a new child can be added without moving any
other. Run ``python -m models.training.split DATA`` to write the file again, or with ``--out FILE``
one for children of your own, stratified by sex and age. Split files in Deeplasia's columns
(``patient_ID``, ``dir`` and one or more columns of ``train``, ``val``, ``test``) are read as well.
"""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np

from models.training.annotations import (
    Annotation,
    TrainingDataError,
    open_table,
    read_annotations,
)

SPLIT_FILE = Path(__file__).with_name("split.csv")
SEED = "boneage split 2026"
HASH_DIGITS = 16

Shares = tuple[tuple[float, "Part"], ...]


class Part(StrEnum):
    """What a child's images are used for."""

    TRAIN = "train"  #: fits weights
    VALIDATE = "validate"  #: watched while training; chooses between recipes
    CALIBRATE = "calibrate"  #: fits the intervals and the gate's bounds, nothing else
    TEST = "test"  #: seen by `evaluate` alone


#: what others call the parts
_PART_NAMES = {
    **{part.value: part for part in Part},
    "val": Part.VALIDATE,
    "valid": Part.VALIDATE,
    "validation": Part.VALIDATE,
    "calibration": Part.CALIBRATE,
}
#: columns of a foreign split file that do not name a part
_KEYS = ("patient_ID", "dir", "image_ID")

#: upper bounds of the seeded hash, 0 … 1, for each folder; the rest trains.
#: Native-aspect children are few and are wanted for testing the clinical path.
SHARES: Mapping[str, Shares] = {
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


def draw_part(patient_id: str, shares: Shares) -> Part:
    """Return the part that a patient's number falls into."""
    return next(part for bound, part in shares if draw(patient_id) < bound)


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
        hash_patient(patient): draw_part(patient, SHARES[folder])
        for patient, folder in folder_of.items()
    }


def stratify(annotations: Sequence[Annotation], *, shares: Shares) -> dict[str, Part]:
    """Return patient hash → part, each part with the same mix of sexes and ages.

    Within each sex, patients are put in the order of their age and dealt out in rounds of twenty;
    inside a round the seeded hash decides. A patient's images stay together.
    """
    ages: dict[str, list[float]] = {}
    sexes = {one.patient_id: one.sex for one in annotations}
    for one in annotations:
        ages.setdefault(one.patient_id, []).append(one.age_months)
    parts: dict[str, Part] = {}
    for sex in sorted(set(sexes.values())):
        ours = [patient for patient in ages if sexes[patient] is sex]
        ours.sort(key=lambda patient: (float(np.mean(ages[patient])), patient))
        for first in range(0, len(ours), _ROUND):
            dealt = sorted(ours[first : first + _ROUND], key=draw)
            for position, patient in enumerate(dealt):
                place = (position + 0.5) / len(dealt)
                parts[hash_patient(patient)] = next(p for bound, p in shares if place < bound)
    return parts


_ROUND = 20
#: for data of one's own: an eighth each to validate, calibrate and test
EIGHTHS: Shares = (
    (0.125, Part.TEST),
    (0.25, Part.CALIBRATE),
    (0.375, Part.VALIDATE),
    (1.0, Part.TRAIN),
)


def write_split(parts: Mapping[str, Part], path: Path = SPLIT_FILE) -> None:
    """Write the split file, sorted by hash."""
    lines = ["patient,part", *(f"{patient},{parts[patient]}" for patient in sorted(parts))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_split(path: Path = SPLIT_FILE, *, column: str | None = None) -> dict[str, Part]:
    """Return patient hash → part from a split file of ours, or in Deeplasia's columns.

    Raises:
        TrainingDataError: there is no such file or column, a part is unknown, or a patient stands
            in two parts; all are named.
    """
    if not path.exists():
        raise TrainingDataError(path=path, problems=["there is no such split file"])
    reader = open_table(path)
    names = list(reader.fieldnames or ())
    rows = list(reader)
    is_ours = {"patient", "part"} <= set(names)
    column = "part" if is_ours else _part_column(path, names, column)
    parts: dict[str, Part] = {}
    problems = []
    for number, row in enumerate(rows, start=2):
        patient = row["patient"] if is_ours else hash_patient(row["patient_ID"])
        part = _PART_NAMES.get((row[column] or "").strip().lower())
        if part is None:
            problems.append(
                f"line {number}: part {row[column]!r} is none of {', '.join(_PART_NAMES)}"
            )
        elif parts.setdefault(patient, part) is not part:
            problems.append(f"line {number}: the patient stands in {parts[patient]} and in {part}")
    if problems:
        raise TrainingDataError(path=path, problems=problems)
    return parts


def _part_column(path: Path, names: Sequence[str], wanted: str | None) -> str:
    candidates = [name for name in names if name not in _KEYS]
    if "patient_ID" not in names:
        raise TrainingDataError(path=path, problems=["no column patient_ID"])
    if wanted in candidates:
        return wanted
    if wanted is None and len(candidates) == 1:
        return candidates[0]
    asked = f"no column {wanted}" if wanted else "it has several columns that may name the part"
    raise TrainingDataError(
        path=path, problems=[f"{asked}; give --split-column, one of {', '.join(candidates)}"]
    )


def digest_of_split(path: Path = SPLIT_FILE) -> str:
    """Return sha256 of the split file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Write the split file from a data folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--annotations", type=Path, help="the table, where it lies elsewhere")
    parser.add_argument("--out", type=Path, help="a stratified split for these children alone")
    given = parser.parse_args()
    annotations = read_annotations(given.data, table=given.annotations)
    if given.out:
        write_split(stratify(annotations, shares=EIGHTHS), given.out)
    else:
        write_split(assign_parts(annotations))


if __name__ == "__main__":
    main()
