"""What the gate does with pictures that it has not seen: hands, other bodies, and made-up ones."""

import csv
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.ensemble import Ensemble
from models.evaluation.answers import Answers, Interview, Progress
from models.training.annotations import Annotation
from models.training.archive import RadiographArchive
from models.training.cohort import Cohort
from models.training.gate import made_up
from models.training.gate.examples import read_others
from models.transforms import to_unit_range
from schemas.errors import UnsuitableImageError
from schemas.estimates import GateVerdict
from schemas.refusals import RefusalReason
from schemas.releases import GateRow, PreprocessingRule

#: made-up pictures of each kind
MADE_UP = 100
SEED = 7
WHITE = 255.0

Picture = NDArray[np.float32]
Random = np.random.Generator


def _unit(pixels: Picture, rule: PreprocessingRule) -> Picture:
    """Return a test image between 0 and 1, at its own aspect."""
    everywhere = np.ones(pixels.shape, dtype=np.bool_)
    return to_unit_range(pixels, inside=everywhere, rule=rule)


def _two_hands(unit: Picture, other: Picture, random: Random) -> Picture:
    """Return the two hands of a child, or of two children, in one wide field."""
    second = unit[:, ::-1] if made_up.happens(random, 0.5) else other
    rows, columns = unit.shape
    second = made_up.resized(np.ascontiguousarray(second), rows=rows, columns=columns)
    return np.ascontiguousarray(np.hstack([unit, second]))


def _of_one(
    make: Callable[[Picture, Random], Picture],
) -> Callable[[Picture, Picture, Random], Picture]:
    """Return the same of two hands, of which the second is not looked at."""
    return lambda unit, _other, random: make(unit, random)


#: kind in the table → how it is made, and the reason that it should be refused for
SPOILT: dict[str, tuple[Callable[[Picture, Picture, Random], Picture], RefusalReason]] = {
    "made up: two hands": (_two_hands, RefusalReason.BOTH_HANDS),
    "made up: fingertips cut off": (_of_one(made_up.without_fingertips), RefusalReason.CUT_OFF),
    "made up: wrist cut off": (_of_one(made_up.without_wrist), RefusalReason.CUT_OFF),
    "made up: a side cut off": (_of_one(made_up.without_a_side), RefusalReason.CUT_OFF),
    "made up: wrist alone": (_of_one(made_up.wrist_alone), RefusalReason.CUT_OFF),
    "made up: field closed in on the palm": (_of_one(made_up.middle_alone), RefusalReason.CUT_OFF),
    "made up: cast": (_of_one(made_up.in_a_cast), RefusalReason.COVERED),
    "made up: metal": (_of_one(made_up.with_implants), RefusalReason.COVERED),
    "made up: close-up of a joint": (_of_one(made_up.close_up), RefusalReason.NOT_A_HAND),
    "made up: pieces in another order": (_of_one(made_up.shuffled), RefusalReason.NOT_A_HAND),
}


def _row(name: str, verdicts: Iterable[GateVerdict], reason: RefusalReason | None) -> GateRow:
    said = [one.refusal for one in verdicts]
    return GateRow(
        pictures=name,
        n=len(said),
        refused=sum(one is not None for one in said),
        recognised=None if reason is None else sum(one is reason for one in said),
    )


def _spoilt_rows(
    ensemble: Ensemble, cohort: Cohort, annotations: Sequence[Annotation], told: Progress
) -> list[GateRow]:
    archive = cohort.open_archive()
    rule = ensemble.manifest.preprocessing
    rows: list[GateRow] = []
    for name, (make, reason) in SPOILT.items():
        verdicts = []
        random = np.random.default_rng((SEED, len(rows)))
        for _ in range(MADE_UP):
            unit, other = (
                _unit(_read(archive, annotations[int(index)]), rule)
                for index in random.integers(len(annotations), size=2)
            )
            verdicts.append(ensemble.check(WHITE * make(unit, other, random)))
        rows.append(_row(name, verdicts, reason))
        told(name, MADE_UP, MADE_UP)
    return rows


def _read(archive: RadiographArchive, one: Annotation) -> Picture:
    return archive.read(folder=one.folder, image_id=one.image_id).astype(np.float32)


def _cut_rows(
    ensemble: Ensemble, cohort: Cohort, annotations: Sequence[Annotation]
) -> list[GateRow]:
    """Return how cuts exactly through bones whose place is known are recognised."""
    archive = cohort.open_archive()
    boxes = read_boxes(cohort.data)
    shown = [one for one in annotations if one.patient_id in boxes]
    tips, wrists = [], []
    for one in shown:
        pixels, regions = _read(archive, one), boxes[one.patient_id]
        joint = min(bottom for name, _, top, _, bottom in regions if name == "DIP")
        tips.append(ensemble.check(pixels[round(joint * pixels.shape[0]) :]))
        wrist = min(top for name, _, top, _, _ in regions if name in ("Radius", "Ulna"))
        wrists.append(ensemble.check(pixels[: round(wrist * pixels.shape[0])]))
    rows = []
    for name, verdicts in (
        ("cut through the highest fingertip joint", tips),
        ("cut above radius and ulna", wrists),
    ):
        if verdicts:
            rows.append(_row(name, verdicts, RefusalReason.CUT_OFF))
    return rows


Region = tuple[str, float, float, float, float]


def read_boxes(data: Path) -> dict[str, list[Region]]:
    """Return patient → ossification regions: name, left, top, right, bottom as shares."""
    path = data / "ossification_regions.csv"
    found: dict[str, list[Region]] = defaultdict(list)
    if not path.exists():
        return found
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            width, height = float(row["width"]), float(row["height"])
            found[f"rsna_{row['rsna_id']}"].append(
                (
                    row["region"],
                    float(row["xmin"]) / width,
                    float(row["ymin"]) / height,
                    float(row["xmax"]) / width,
                    float(row["ymax"]) / height,
                )
            )
    return found


def _other_rows(ensemble: Ensemble, data: Path) -> list[GateRow]:
    """Return how pictures of other bodies are refused, by what they show."""
    groups: dict[str, list[GateVerdict]] = defaultdict(list)
    for one in read_others(data):
        verdict = ensemble.check(one.pixels.astype(np.float32))
        if one.may_train:
            groups["no hands, trained on"].append(verdict)
            continue
        groups["no hands, held out: all"].append(verdict)
        groups[f"no hands, held out: {one.body_part}"].append(verdict)
    return [_row(name, groups[name], RefusalReason.NOT_A_HAND) for name in sorted(groups)]


def _hospital_row(ensemble: Ensemble, data: Path) -> list[GateRow]:
    """Return how many hands of another hospital are refused, and how many are mended."""
    path = data / "other_hospital.zip"
    if not path.exists():
        return []
    verdicts = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith("/"):
                continue
            stored = np.frombuffer(archive.read(name), dtype=np.uint8)
            pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), dtype=np.float32)
            verdicts.append(ensemble.check(pixels))
    mended = sum(bool(one.flags) and one.mending.turns > 0 for one in verdicts)
    row = _row("hands of another hospital (recognised: turned)", verdicts, None)
    return [row.model_copy(update={"recognised": mended})]


def measure_files(interview: Interview) -> list[GateRow]:
    """Return how DICOM files that show no hand are refused, by their headers or by the gate."""
    if interview.dicom is None:
        return []
    verdicts = []
    for path in sorted((interview.cohort.data / "dicom_not_hand").glob("*.dcm")):
        try:
            verdicts.append(interview.ensemble.check(interview.dicom.read_file(path)))
        except UnsuitableImageError as error:
            verdicts.append(GateVerdict(refusal=error.reason))
    if not verdicts:
        return []
    return [_row("no hands, DICOM files", verdicts, RefusalReason.NOT_A_HAND)]


def measure_gate(interview: Interview, asked: Mapping[str, Answers]) -> list[GateRow]:
    """Return how the gate judges hands, other pictures and made-up ones; none was trained on.

    Args:
        interview: its data folder holds the other pictures.
        asked: name → what was said about held-out hands.
    """
    ensemble, cohort = interview.ensemble, interview.cohort
    rows = [
        GateRow(pictures=name, n=len(one.verdicts), refused=one.refused)
        for name, one in asked.items()
    ]
    hands = next(iter(asked.values())).annotations
    rows += _hospital_row(ensemble, cohort.data)
    if (cohort.data / "not_hand.zip").exists():
        rows += _other_rows(ensemble, cohort.data)
    rows += measure_files(interview)
    if ensemble.manifest.gate is not None:
        rows += _cut_rows(ensemble, cohort, hands)
        rows += _spoilt_rows(ensemble, cohort, hands, interview.progress)
    return rows
