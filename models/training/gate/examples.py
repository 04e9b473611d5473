"""Pictures for the gate with what they show: from one seed, one part of the split, one archive."""

import csv
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.gate.network import TURNS, Kind
from models.gate.view import gate_view
from models.training.gate import covers, detector, made_up
from models.training.gate.made_up import Picture, Random
from models.transforms import FlatImageError, squash
from schemas.releases import PreprocessingRule

#: sources of `not_hand.csv` whose stated terms allow training; the others are for tests alone
OPEN_TERMS = ("MIT", "Apache-2.0")
#: of the pictures that may be trained on, every fourth is kept for tests
HELD_OUT_EVERY = 4
#: shares of the training pictures
MIXTURE = {
    Kind.HAND: 0.4,
    Kind.CUT_OFF: 0.22,
    Kind.NOT_A_HAND: 0.14,
    Kind.BOTH_HANDS: 0.08,
    Kind.COVERED: 0.16,
}
#: of the hands that are cut off: those that end just above the wrist
ABOVE_WRIST = 0.4
#: of the whole hands: those whose field ends just below it
SHORT_FOREARM = 0.25
#: of the others: those that lie as another technician would lay them
LAID_DOWN = 0.75
#: where pictures that are no hands come from: other radiographs, hands spoilt, nothing at all
OTHER_ORIGINS = {
    "whole": 0.22,
    "part": 0.3,
    "shuffled hand": 0.12,
    "close-up of a hand": 0.12,
    "hand from its side": 0.16,
    "drawing": 0.08,
}
UPRIGHT = 0.5  #: share of upright pictures; the others lie in one of the three other turns
INVERTED = 0.3  #: share of inverted pictures
SIDE = 192  #: pixels, of the pictures that examples are made from


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherPicture:
    """A radiograph that is no hand."""

    name: str
    body_part: str
    may_train: bool  #: by its terms, and not held out
    has_open_terms: bool
    pixels: NDArray[np.uint8]


def read_others(data: Path) -> list[OtherPicture]:
    """Return all pictures of ``not_hand.zip``, in the order of ``not_hand.csv``."""
    found = []
    with (
        (data / "not_hand.csv").open(newline="", encoding="utf-8") as lines,
        zipfile.ZipFile(data / "not_hand.zip") as archive,
    ):
        for index, row in enumerate(csv.DictReader(lines)):
            is_open = any(one in row["terms"] for one in OPEN_TERMS)
            stored = np.frombuffer(archive.read(f"not_hand/{row['image_ID']}"), dtype=np.uint8)
            pixels = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)
            found.append(
                OtherPicture(
                    name=row["image_ID"],
                    body_part=row["body_part"],
                    may_train=is_open and index % HELD_OUT_EVERY != 0,
                    has_open_terms=is_open,
                    pixels=np.asarray(pixels, dtype=np.uint8),
                )
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One picture as the gate's network sees it, and what is true of it."""

    view: NDArray[np.float32]  #: ``(size, size)``
    kind: Kind
    turn: int  #: quarter turns anticlockwise; -1: there is no upright
    inverted: int  #: 1: air is bright; -1: nobody can say


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """A whole hand that pictures are made from."""

    unit: Picture  #: upright, unit range
    wrist: float  #: share of its height at which the epiphyses of radius and ulna begin


def _other_picture(hand: Picture, others: Sequence[Picture], random: Random) -> Picture:
    """Return something that is no hand."""
    other = others[int(random.integers(len(others)))]
    origin = random.choice(list(OTHER_ORIGINS), p=list(OTHER_ORIGINS.values()))
    made: dict[str, Callable[[], Picture]] = {
        "whole": lambda: other,
        "part": lambda: made_up.part_of(other, random),
        "shuffled hand": lambda: made_up.shuffled(hand, random),
        "close-up of a hand": lambda: made_up.close_up(hand, random),
        "hand from its side": lambda: made_up.side_on(hand, random),
        "drawing": lambda: made_up.drawn(SIDE, random),
    }
    return made[str(origin)]()


def _whole_hand(hand: Hand, random: Random) -> Picture:
    if made_up.happens(random, SHORT_FOREARM):
        return made_up.with_short_forearm(hand.unit, hand.wrist, random)
    return made_up.laid_down(hand.unit, random) if made_up.happens(random, LAID_DOWN) else hand.unit


def _cut_hand(hand: Hand, random: Random) -> Picture:
    if made_up.happens(random, ABOVE_WRIST):
        return made_up.above_the_wrist(hand.unit, hand.wrist, random)
    return made_up.CUTS[int(random.integers(len(made_up.CUTS)))](hand.unit, random)


def _covered_hand(hand: Hand, random: Random) -> Picture:
    cover = covers.in_a_cast if made_up.happens(random, 0.5) else covers.with_implants
    covered = cover(hand.unit, random)
    return made_up.laid_down(covered, random) if made_up.happens(random, LAID_DOWN) else covered


def make_picture(
    kind: Kind, hands: Sequence[Hand], others: Sequence[Picture], random: Random
) -> Picture:
    """Return a picture of a kind, upright.

    Args:
        kind: what it shall show.
        hands: two whole hands.
        others: pictures that are no hands.
        random: decides everything else.
    """
    hand, unit = hands[0], hands[0].unit
    if kind is Kind.NOT_A_HAND:
        picture = _other_picture(unit, others, random)
    elif kind is Kind.BOTH_HANDS:
        second = unit[:, ::-1] if made_up.happens(random, 0.6) else hands[1].unit
        picture = made_up.side_by_side(unit, second, random)
    elif kind is Kind.CUT_OFF:
        picture = _cut_hand(hand, random)
    elif kind is Kind.COVERED:
        picture = _covered_hand(hand, random)
    else:
        picture = _whole_hand(hand, random)
    picture = made_up.resized(np.ascontiguousarray(picture), rows=SIDE, columns=SIDE)
    if made_up.happens(random, 0.4):
        picture = detector.with_markers(picture, random)
    picture = detector.toned(picture, random)
    if made_up.happens(random, 0.15):
        return detector.in_a_tilted_field(picture, random)
    return detector.with_border(picture, random) if made_up.happens(random, 0.4) else picture


def make_example(
    kind: Kind,
    hands: Sequence[Hand],
    others: Sequence[Picture],
    random: Random,
    *,
    size: int,
    rule: PreprocessingRule,
) -> Example:
    """Return a picture of a kind, in any turn and polarity, as the gate sees it."""
    picture = make_picture(kind, hands, others, random)
    turn = 0 if made_up.happens(random, UPRIGHT) else int(random.integers(1, TURNS))
    inverted = int(made_up.happens(random, INVERTED))
    seen = np.ascontiguousarray(np.rot90(-picture if inverted else picture, turn))
    try:
        view = gate_view(seen, size=size, rule=rule)
    except FlatImageError:  # a cut has left nothing but air: another one
        return make_example(kind, hands, others, random, size=size, rule=rule)
    if kind is Kind.NOT_A_HAND:
        turn, inverted = -1, -1
    return Example(view=view, kind=kind, turn=turn, inverted=inverted)


def unit_pictures(
    others: Sequence[OtherPicture], *, side: int, rule: PreprocessingRule
) -> list[Picture]:
    """Return pictures that are no hands in unit range, squashed."""
    squashed = [squash(one.pixels, size=side) for one in others]
    return [gate_view(one, size=side, rule=rule) for one in squashed]
