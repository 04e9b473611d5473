"""What the gate does with pictures that it has not seen: hands, other bodies, and made-up ones."""

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from models.evaluation.answers import Answers, Interview
from models.training.annotations import Annotation
from models.training.archive import RadiographArchive
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
#: in the data folder
OTHER_HOSPITAL, OTHER_BODIES = "other_hospital.zip", "not_hand.zip"
WHITE = 255.0

Picture = NDArray[np.float32]
Random = np.random.Generator
#: gives the second of two hands, which most ways of spoiling do not look at
ReadPicture = Callable[[], Picture]


def _unit(pixels: Picture, rule: PreprocessingRule) -> Picture:
    """Return a test image between 0 and 1, at its own aspect."""
    everywhere = np.ones(pixels.shape, dtype=np.bool_)
    return to_unit_range(pixels, inside=everywhere, rule=rule)


def _two_hands(unit: Picture, read_other: ReadPicture, random: Random) -> Picture:
    """Return the two hands of a child, or of two children, in one wide field."""
    second = unit[:, ::-1] if made_up.happens(random, 0.5) else read_other()
    rows, columns = unit.shape
    second = made_up.resized(np.ascontiguousarray(second), rows=rows, columns=columns)
    return np.ascontiguousarray(np.hstack([unit, second]))


def _of_one(
    make: Callable[[Picture, Random], Picture],
) -> Callable[[Picture, ReadPicture, Random], Picture]:
    """Return the same of two hands, of which the second is not looked at."""
    return lambda unit, _read_other, random: make(unit, random)


#: kind in the table → how it is made, and the reason that it should be refused for
SPOILT: dict[str, tuple[Callable[[Picture, ReadPicture, Random], Picture], RefusalReason]] = {
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
    interview: Interview, annotations: Sequence[Annotation], name: str
) -> list[GateRow]:
    """Return how hands are refused that one thing was done to."""
    archive, rule = interview.cohort.open_archive(), interview.ensemble.manifest.preprocessing
    place, (make, reason) = list(SPOILT).index(name), SPOILT[name]
    random = np.random.default_rng((SEED, place))
    verdicts: list[GateVerdict] = []
    for _ in range(MADE_UP):
        one, other = (
            annotations[int(index)] for index in random.integers(len(annotations), size=2)
        )
        shown = make(
            _read_unit(archive, one, rule),
            partial(_read_unit, archive, other, rule),
            random,
        )
        verdicts.append(interview.ensemble.judge(WHITE * shown))
        done = place * MADE_UP + len(verdicts)
        interview.progress("made-up pictures", done, len(SPOILT) * MADE_UP)
    return [_row(name, verdicts, reason)]


def _read(archive: RadiographArchive, one: Annotation) -> Picture:
    return archive.read(folder=one.folder, image_id=one.image_id).astype(np.float32)


def _read_unit(archive: RadiographArchive, one: Annotation, rule: PreprocessingRule) -> Picture:
    return _unit(_read(archive, one), rule)


#: share of the height that is left below the boxes of radius and ulna
BELOW_FOREARM = 0.01


def _cut_rows(interview: Interview, annotations: Sequence[Annotation]) -> list[GateRow]:
    """Return how cuts exactly through bones whose place is known are recognised, or let pass."""
    archive = interview.cohort.open_archive()
    boxes, check = read_boxes(interview.cohort.data), interview.ensemble.check
    tips, wrists, forearms = [], [], []
    for one in annotations:
        pixels, regions = _read(archive, one), boxes[one.patient_id]
        rows = pixels.shape[0]
        joint = min(bottom for name, _, top, _, bottom in regions if name == "DIP")
        tips.append(check(pixels[round(joint * rows) :]))
        forearm = [one for one in regions if one[0] in FOREARM]
        wrists.append(check(pixels[: round(min(one[2] for one in forearm) * rows)]))
        end = max(one[4] for one in forearm) + BELOW_FOREARM
        forearms.append(check(pixels[: round(end * rows)]))
        interview.progress("cut hands", len(tips), len(annotations))
    if not tips:
        return []
    return [
        _row("hands that end just below radius and ulna", forearms, None),
        _row("cut through the highest fingertip joint", tips, RefusalReason.CUT_OFF),
        _row("cut above radius and ulna", wrists, RefusalReason.CUT_OFF),
    ]


def _other_rows(interview: Interview) -> list[GateRow]:
    """Return how pictures of other bodies are refused, by what they show."""
    groups: dict[str, list[GateVerdict]] = defaultdict(list)
    others = read_others(interview.cohort.data)
    for index, one in enumerate(others, 1):
        verdict = interview.ensemble.judge(one.pixels.astype(np.float32))
        interview.progress("pictures of other bodies", index, len(others))
        if one.may_train:
            groups["no hands, trained on"].append(verdict)
            continue
        groups["no hands, held out: all"].append(verdict)
        groups[f"no hands, held out: {one.body_part}"].append(verdict)
    return [_row(name, groups[name], RefusalReason.NOT_A_HAND) for name in sorted(groups)]


def _hospital_row(interview: Interview) -> list[GateRow]:
    """Return how many hands of another hospital are refused, and how many are mended."""
    verdicts = []
    with zipfile.ZipFile(interview.cohort.data / OTHER_HOSPITAL) as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        for name in names:
            stored = np.frombuffer(archive.read(name), dtype=np.uint8)
            pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), dtype=np.float32)
            verdicts.append(interview.ensemble.judge(pixels))
            interview.progress("hands of another hospital", len(verdicts), len(names))
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
            verdicts.append(interview.ensemble.judge(interview.dicom.read_file(path)))
        except UnsuitableImageError as error:
            verdicts.append(GateVerdict(refusal=error.reason))
    if not verdicts:
        return []
    return [_row("no hands, DICOM files", verdicts, RefusalReason.NOT_A_HAND)]


def _pictures_beside(interview: Interview) -> list[GateRow]:
    """Return how pictures of the data folder are judged that have no label."""
    data = interview.cohort.data
    rows = _hospital_row(interview) if (data / OTHER_HOSPITAL).exists() else []
    rows += _other_rows(interview) if (data / OTHER_BODIES).exists() else []
    return rows + measure_files(interview)


def _names_beside(interview: Interview) -> list[str]:
    """Return what tells those pictures apart from those of another data folder."""
    data = interview.cohort.data
    paths = [data / OTHER_HOSPITAL, data / OTHER_BODIES, *data.glob("dicom_not_hand/*.dcm")]
    found = [f"{one.name}/{one.stat().st_size}" for one in sorted(paths) if one.exists()]
    return [*found, "no files" if interview.dicom is None else "files"]


def measure_gate(
    interview: Interview, asked: Mapping[str, Answers], *, hands: Sequence[Annotation]
) -> list[GateRow]:
    """Return how the gate judges hands, other pictures and made-up ones; none was trained on.

    Args:
        interview: its data folder holds the other pictures.
        asked: name → what was said about held-out hands; those of native aspect first.
        hands: what pictures are made up from.
    """
    rows = [
        GateRow(pictures=name, n=len(one.verdicts), refused=one.refused)
        for name, one in asked.items()
    ]
    names = _names_beside(interview)
    rows += _remembered(interview, "pictures beside", names, _pictures_beside)
    if interview.ensemble.manifest.gate is None:
        return rows
    everyone = {
        shown.patient_id: shown
        for one in reversed(list(asked.values()))
        for shown in one.annotations
    }
    boxed = read_boxes(interview.cohort.data)
    cut = [everyone[one] for one in sorted(everyone.keys() & boxed.keys())]
    names = [interview.name_of(one) for one in cut]
    rows += _remembered(interview, "cut hands", names, partial(_cut_rows, annotations=cut))
    names = [interview.name_of(one) for one in hands]
    for name in SPOILT:
        rows += _remembered(
            interview, name, names, partial(_spoilt_rows, annotations=hands, name=name)
        )
    return rows


def _remembered(
    interview: Interview,
    what: str,
    names: Sequence[str],
    find: Callable[[Interview], list[GateRow]],
) -> list[GateRow]:
    """Return rows that are not measured twice."""
    rows = interview.remembered(what, names, lambda: [one.model_dump() for one in find(interview)])
    return [GateRow.model_validate(one) for one in rows]
