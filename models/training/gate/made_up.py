"""Pictures that no archive here holds, made from hands: two of them, cut off, covered, misplaced.

Every function takes unit-range pictures, 0.0 air … 1.0 bone, and returns another one, float32, of
any size. Where a cut is too shallow to lose anything is measured on the boxes of
``ossification_regions.csv`` (327 children): the epiphysis of the radius begins at 0.56 of the
height or below in 99 % of them, the highest fingertip joint at 0.04 to 0.33.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]
Random = np.random.Generator

#: share of the height above which no wrist is left
WRIST_CUT = (0.30, 0.55)
#: how far above the epiphyses of radius and ulna a field ends that lacks them, share of the height
ABOVE_WRIST = (0.0, 0.2)
#: how far below their upper end it ends where they are whole: their boxes are 0.10 high (median)
BELOW_WRIST = (0.11, 0.25)
#: share of the width of a picture that a finger, or several, take at least
FINGER_WIDTH = 0.05
#: how much of the hand's own height a cut takes from the fingers
FINGER_CUT = (0.07, 0.40)
#: how much of the hand's own width a cut takes from a side
SIDE_CUT = (0.22, 0.50)
#: how far a cut in the middle leaves the centre of the hand alone, share of the side
CENTRE_KEPT = (0.25, 0.5)


def happens(random: Random, share: float) -> bool:
    """Return True for a share of all calls."""
    return bool(random.random() < share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Where the hand lies in a picture, pixels."""

    top: int  #: where it is at least as wide as a finger
    bottom: int
    left: int
    right: int


def find_tissue(unit: Picture) -> NDArray[np.bool_]:
    """Return the largest bright region: hand and forearm; nothing where all is dark."""
    grey = np.asarray(cv2.GaussianBlur(unit, (0, 0), unit.shape[0] / 96) * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    bright = (grey > 0.7 * threshold).astype(np.uint8)
    _, labels, regions, _ = cv2.connectedComponentsWithStats(bright)
    if len(regions) == 1:
        return np.zeros(unit.shape, dtype=np.bool_)
    return np.asarray(labels == 1 + int(regions[1:, cv2.CC_STAT_AREA].argmax()), dtype=np.bool_)


def find_extent(unit: Picture) -> Extent:
    """Return the box round hand and forearm."""
    rows, columns = unit.shape
    tissue = find_tissue(unit)
    if not tissue.any():
        return Extent(top=0, bottom=rows, left=0, right=columns)
    across = np.flatnonzero(tissue.any(axis=0))
    shown = np.flatnonzero(np.count_nonzero(tissue, axis=1) >= FINGER_WIDTH * columns)
    top, bottom = (int(shown[0]), int(shown[-1]) + 1) if shown.size else (0, rows)
    return Extent(top=top, bottom=bottom, left=int(across[0]), right=int(across[-1]) + 1)


def resized(unit: Picture, *, rows: int, columns: int) -> Picture:
    """Return the picture at another size."""
    small = rows * columns < unit.size
    how = cv2.INTER_AREA if small else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(unit, (columns, rows), interpolation=how), dtype=np.float32)


def laid_down(unit: Picture, random: Random) -> Picture:
    """Return a whole hand as another technician would lay it: turned a little, smaller, shifted."""
    size = unit.shape[0]
    angle = np.deg2rad(random.normal(0, 10) if happens(random, 0.7) else random.uniform(-30, 30))
    zoom = random.uniform(1.0, 1.15) if happens(random, 0.6) else random.uniform(1.1, 1.9)
    stretch = 1 + random.uniform(-0.08, 0.08)
    # the further away, the more room to shift without losing a finger
    room = 0.02 + max(0.0, zoom - 1) / 3
    mirror = -1.0 if happens(random, 0.5) else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([mirror * zoom * stretch, zoom / stretch])
    centre = np.full(2, (size - 1) / 2)
    offset = centre - matrix @ centre + random.uniform(-room, room, size=2) * size
    edge = cv2.BORDER_REPLICATE if happens(random, 0.3) else cv2.BORDER_CONSTANT
    placed = cv2.warpAffine(
        unit,
        np.column_stack([matrix, offset]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=edge,
    )
    return np.asarray(placed, dtype=np.float32)


def side_by_side(first: Picture, second: Picture, random: Random) -> Picture:
    """Return two hands in one picture, beside one another; the second partly outside at times."""
    size = first.shape[0]
    share = random.uniform(0.42, 0.58)
    left_width = round(size * share)
    halves = []
    for unit, width in ((first, left_width), (second, size - left_width)):
        extent = find_extent(unit)
        shown = unit[:, max(0, extent.left - 8) : extent.right + 8]
        halves.append(resized(shown, rows=size, columns=width))
    both = np.hstack(halves)
    if happens(random, 0.25):  # the field ends inside the second hand
        both = both[:, : round(size * random.uniform(0.72, 0.95))]
    if happens(random, 0.3):  # no seam: the brighter of both, a little apart
        shift = round(size * random.uniform(0.0, 0.04))
        both = np.maximum(both, np.roll(both, shift, axis=0) * 0.97)
    return np.ascontiguousarray(both, dtype=np.float32)


def without_fingertips(unit: Picture, random: Random) -> Picture:
    """Return a hand whose fingers leave the field at the top."""
    extent = find_extent(unit)
    height = min(extent.bottom - extent.top, round(0.85 * unit.shape[0]))
    cut = extent.top + round(random.uniform(*FINGER_CUT) * height)
    return np.ascontiguousarray(unit[cut:])


def without_wrist(unit: Picture, random: Random) -> Picture:
    """Return fingers and metacarpals without the wrist."""
    return np.ascontiguousarray(unit[: round(unit.shape[0] * random.uniform(*WRIST_CUT))])


def above_the_wrist(unit: Picture, wrist: float, random: Random) -> Picture:
    """Return a hand that ends just above radius and ulna, or somewhere in carpus or metacarpals.

    Args:
        unit: an upright hand.
        wrist: share of the height at which the epiphyses of radius and ulna begin.
        random: decides how far above.
    """
    share = wrist - random.uniform(*ABOVE_WRIST)
    return np.ascontiguousarray(unit[: max(1, round(share * unit.shape[0]))])


def with_short_forearm(unit: Picture, wrist: float, random: Random) -> Picture:
    """Return a whole hand whose field ends soon below the epiphyses of radius and ulna."""
    share = wrist + random.uniform(*BELOW_WRIST)
    return np.ascontiguousarray(unit[: round(min(share, 1.0) * unit.shape[0])])


def without_a_side(unit: Picture, random: Random) -> Picture:
    """Return a hand that has lost the thumb's or the little finger's side."""
    extent = find_extent(unit)
    cut = round(random.uniform(*SIDE_CUT) * (extent.right - extent.left))
    if happens(random, 0.5):
        return np.ascontiguousarray(unit[:, extent.left + cut :])
    return np.ascontiguousarray(unit[:, : extent.right - cut])


def middle_alone(unit: Picture, random: Random) -> Picture:
    """Return a field that is closed in on the middle of the hand."""
    rows, columns = (round(side * random.uniform(*CENTRE_KEPT)) for side in unit.shape)
    top = round(random.uniform(0.25, 0.6) * (unit.shape[0] - rows))
    left = round(random.uniform(0.3, 0.7) * (unit.shape[1] - columns))
    return np.ascontiguousarray(unit[top : top + rows, left : left + columns])


def wrist_alone(unit: Picture, random: Random) -> Picture:
    """Return forearm and wrist without fingers."""
    return np.ascontiguousarray(unit[round(unit.shape[0] * random.uniform(0.52, 0.68)) :])


CUTS: tuple[Callable[[Picture, Random], Picture], ...] = (
    without_fingertips,
    without_fingertips,
    without_wrist,
    without_wrist,
    without_a_side,
    middle_alone,
    wrist_alone,
)


def side_on(unit: Picture, random: Random) -> Picture:
    """Return a hand seen from its side, as far as can be made up: narrow, fingers over fingers."""
    extent = find_extent(unit)
    rows, columns = unit.shape
    shown = np.ascontiguousarray(unit[:, extent.left : extent.right])
    width = max(8, round(random.uniform(0.28, 0.45) * shown.shape[1]))
    near = resized(shown, rows=rows, columns=width)
    far = np.roll(near[:, ::-1], round(random.uniform(-0.04, 0.04) * rows), axis=0)
    both = near + far * random.uniform(0.5, 1.0)
    room = int(random.uniform(0.6, 1.0) * (columns - width))
    left = round(random.uniform(0.2, 0.8) * room)
    field = np.full((rows, width + room), float(both.min()), dtype=np.float32)
    field[:, left : left + width] = both
    return field


def shuffled(unit: Picture, random: Random) -> Picture:
    """Return the pieces of a picture in another order: right texture, wrong shape."""
    count = int(random.integers(2, 5))
    side = min(unit.shape) // count
    tiles = [
        unit[row * side : (row + 1) * side, column * side : (column + 1) * side]
        for row in range(count)
        for column in range(count)
    ]
    order = random.permutation(len(tiles))
    turned = [np.rot90(tiles[index], int(random.integers(4))) for index in order]
    lines = [np.hstack(turned[row * count : (row + 1) * count]) for row in range(count)]
    return np.ascontiguousarray(np.vstack(lines))


def close_up(unit: Picture, random: Random) -> Picture:
    """Return a joint or a shaft that fills the field, as a knee does."""
    rows, columns = (round(side * random.uniform(0.12, 0.28)) for side in unit.shape)
    down = random.uniform(0.15, 0.95) * (unit.shape[0] - rows)
    across = random.normal(0.5, 0.15) * (unit.shape[1] - columns)
    top, left = round(down), round(min(max(across, 0), unit.shape[1] - columns))
    return np.ascontiguousarray(unit[top : top + rows, left : left + columns])


def part_of(unit: Picture, random: Random) -> Picture:
    """Return any part of a picture, from a quarter of its sides to all of it."""
    rows, columns = (round(side * random.uniform(0.25, 1.0)) for side in unit.shape)
    top = int(random.integers(unit.shape[0] - rows + 1))
    left = int(random.integers(unit.shape[1] - columns + 1))
    return np.ascontiguousarray(unit[top : top + rows, left : left + columns])


def drawn(size: int, random: Random) -> Picture:
    """Return noise, slopes, discs, bars or blobs: what is no radiograph at all."""
    down, across = np.mgrid[0:size, 0:size].astype(np.float32) / size
    if happens(random, 0.25):
        coarse = int(random.choice([4, 8, 16, 32, 64, size]))
        grain = random.random((coarse, coarse)).astype(np.float32)
        return resized(grain, rows=size, columns=size)
    if happens(random, 0.33):
        angle = random.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * across + np.sin(angle) * down
        return np.asarray(slope + random.normal(0, 0.02, slope.shape), dtype=np.float32)
    picture = random.normal(0.1, 0.03, (size, size)).astype(np.float32)
    has_discs = happens(random, 0.5)
    for _ in range(random.integers(1, 9)):
        at = tuple(int(one) for one in random.uniform(0, size, 2))
        level = float(random.uniform(0.3, 1.0))
        if has_discs:
            cv2.circle(picture, at, int(random.uniform(0.03, 0.3) * size), level, cv2.FILLED)
        else:
            to = tuple(int(one) for one in random.uniform(0, size, 2))
            cv2.line(picture, at, to, level, int(random.uniform(0.01, 0.12) * size))
    return picture
