"""What the gate does with pictures that it has not seen: hands, other bodies, and made-up ones."""

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
from models.training.gate import covers, made_up
from models.training.gate.examples import read_others
from models.training.regions import FOREARM, read_boxes
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
    "made up: cast": (_of_one(covers.in_a_cast), RefusalReason.COVERED),
    "made up: metal": (_of_one(covers.with_implants), RefusalReason.COVERED),
    "made up: hand from its side": (_of_one(made_up.side_on), RefusalReason.NOT_A_HAND),
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


#: share of the height that is left below the boxes of radius and ulna
BELOW_FOREARM = 0.01


def _cut_rows(
    ensemble: Ensemble, cohort: Cohort, annotations: Sequence[Annotation]
) -> list[GateRow]:
    """Return how cuts exactly through bones whose place is known are recognised, or let pass."""
    archive = cohort.open_archive()
    boxes = read_boxes(cohort.data)
    tips, wrists, forearms = [], [], []
    for one in annotations:
        if one.patient_id not in boxes:
            continue
        pixels, regions = _read(archive, one), boxes[one.patient_id]
        rows = pixels.shape[0]
        joint = min(bottom for name, _, top, _, bottom in regions if name == "DIP")
        tips.append(ensemble.check(pixels[round(joint * rows) :]))
        forearm = [one for one in regions if one[0] in FOREARM]
        wrists.append(ensemble.check(pixels[: round(min(one[2] for one in forearm) * rows)]))
        end = max(one[4] for one in forearm) + BELOW_FOREARM
        forearms.append(ensemble.check(pixels[: round(end * rows)]))
    if not tips:
        return []
    return [
        _row("hands that end just below radius and ulna", forearms, None),
        _row("cut through the highest fingertip joint", tips, RefusalReason.CUT_OFF),
        _row("cut above radius and ulna", wrists, RefusalReason.CUT_OFF),
    ]


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
    everyone = {
        shown.patient_id: shown
        for one in reversed(list(asked.values()))
        for shown in one.annotations
    }
    rows += _hospital_row(ensemble, cohort.data)
    if (cohort.data / "not_hand.zip").exists():
        rows += _other_rows(ensemble, cohort.data)
    rows += measure_files(interview)
    if ensemble.manifest.gate is not None:
        rows += _cut_rows(ensemble, cohort, list(everyone.values()))
        rows += _spoilt_rows(ensemble, cohort, hands, interview.progress)
    return rows
