"""What was read which way: as a DICOM file, as a picture, changed or made up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.evaluation.answers import Answers
from models.evaluation.changes import CHANGE_CHILDREN
from models.evaluation.heatmaps import HEATMAP_CHILDREN
from models.training.annotations import Annotation
from models.training.cohort import NATIVE, SQUASHED

FILES = "at native aspect, each made into a DICOM file and read as the worker reads it"
PICTURES = {
    "native": "at native aspect, the picture as decoded",
    SQUASHED: "squashed to 299 by 299 pixels, the picture as decoded",
}
OTHER = "the picture as decoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How some images came."""

    what: str  #: what was measured on them
    n: int
    how: str


def way_of(one: Annotation, *, are_files: bool) -> str:
    """Return how an image comes."""
    if one.folder in NATIVE:
        return FILES if are_files else PICTURES["native"]
    return PICTURES.get(one.folder, OTHER)


def by_way(answers: Answers, *, are_files: bool) -> Mapping[str, Answers]:
    """Return what was said, by how the images came; those of native aspect first."""
    places: dict[str, list[int]] = {}
    order = sorted(
        range(len(answers.annotations)),
        key=lambda place: answers.annotations[place].folder not in NATIVE,
    )
    for place in order:
        way = way_of(answers.annotations[place], are_files=are_files)
        places.setdefault(way, []).append(place)
    return {way: answers.about(found) for way, found in places.items()}


def ways_of_robustness(examples: Sequence[Annotation], *, are_files: bool) -> list[Way]:
    """Return how the images came that gate, changes and heatmaps were measured on."""
    decoded = way_of(examples[0], are_files=False)
    ways = [
        Way(what="gate: cut and made-up pictures, made from", n=len(examples), how=decoded),
        Way(
            what="robustness: changed hands",
            n=min(CHANGE_CHILDREN, len(examples)),
            how=f"{decoded}, then changed; no DICOM file between",
        ),
        Way(what="heatmaps", n=min(HEATMAP_CHILDREN, len(examples)), how=decoded),
    ]
    if are_files:
        both = "both ways, as the DICOM file and as the picture"
        ways.insert(2, Way(what='robustness: "as a DICOM file"', n=len(examples), how=both))
    return ways
