"""A leaning hand turned upright and its broad border cut off, before the networks see it.

How far a hand leans, and how much empty field lies round it, says nothing about its age; but the
networks err by three to five months where either differs from what they are used to. The same hand
leaning by 20° more, or inside a broad border, looks nearly alike after this step: what it moves
the estimate by stands in the card of a release that asks for it (``PreprocessingRule.upright``).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.percentiles import percentile
from models.transforms import find_exposed_area
from schemas.releases import PreprocessingRule

#: side of the small picture that border and lean are found on, pixels
SIDE = 256
#: of the blur before edges are looked at, pixels of ``SIDE``
BLUR = 1.5
#: standard deviation of the window round the middle that edges are looked at in, share of ``SIDE``.
#: How it was chosen, and what other ways of finding the axis missed by, stands in EXPERIMENTS.md
WINDOW = 0.15
#: the usual lean is 3° to the thumb's other side, with a standard deviation of 7°; what leans
#: further than this is no hand that the gate lets pass, or not seen rightly: left alone
MOST_DEGREES = 45.0
#: a line counts as constant where it varies by less than this share of the whole range
CONSTANT = 1e-3
#: air that stays on each side, share of what is left: fingertips are hardly brighter than air
MARGIN = 0.02
#: pixels; where less would be left there is no field to tell from a border: left as it is
LEAST_SIDE = 16
_AIR_PERCENTILE = 2.0
_TINY = 1e-12

Pixels = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class UprightPicture:
    """A picture turned upright, and the way back."""

    pixels: Pixels  #: ``(rows, columns)`` display values, at most twice the working size
    #: 3 by 3, from the edges of source pixels to those of these pixels
    matrix: Matrix
    source_shape: tuple[int, int]  #: rows and columns of the source

    def fields_of_source(self, fields: Pixels) -> Pixels:
        """Return a map over this picture as one over the source; months in each field, same sum.

        Args:
            fields: ``(rows, columns)`` of a grid over the whole of this picture.
        """
        count_down, count_across = fields.shape
        rows, columns = self.pixels.shape
        source_rows, source_columns = self.source_shape
        to_grid = np.diag([count_across / columns, count_down / rows, 1.0])
        from_grid = np.diag([source_columns / count_across, source_rows / count_down, 1.0])
        there = to_grid @ self.matrix @ from_grid
        turned = cv2.warpAffine(
            fields,
            _between_middles(there)[:2],
            (count_across, count_down),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        back = np.asarray(turned, dtype=np.float32) * np.float32(abs(np.linalg.det(there)))
        # a little is lost between fields and at the edges
        size = float(np.abs(back).sum())
        lost = float(fields.sum()) - float(back.sum())
        return back + (np.abs(back) * np.float32(lost / size) if size else np.float32(0.0))


def turn_upright(pixels: Pixels, *, rule: PreprocessingRule) -> UprightPicture:
    """Return a picture without its flat borders, turned until the hand's axis is upright.

    Whatever is turned keeps its corners, and air fills what is new; flat borders are cut off again.
    A mirror image gives the mirrored result.

    Args:
        pixels: ``(rows, columns)`` display values, bone bright, fingers up.
        rule: the release's.
    """
    shrunk, matrix = _shrunk(pixels, side=2 * rule.working_size)
    field, matrix = _without_border(shrunk, matrix, rule)
    degrees = lean_of(field)
    if abs(degrees) <= MOST_DEGREES:
        field, turn = turned_whole(field, degrees=degrees)
        matrix = turn @ matrix
        field, matrix = _without_border(field, matrix, rule)
    return UprightPicture(
        pixels=np.ascontiguousarray(field), matrix=matrix, source_shape=pixels.shape
    )


def lean_of(pixels: Pixels) -> float:
    """Return how far a hand leans, degrees, counter-clockwise positive: across the mean edge.

    Most edges in the middle of a hand run along fingers and metacarpals. Each counts alike, by its
    direction alone, so that no tone curve and no brightness changes what is found.
    """
    small, _ = _shrunk(pixels, side=SIDE)
    smooth = cv2.GaussianBlur(small, (0, 0), BLUR)
    across, down = (cv2.Scharr(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    rows, columns = small.shape
    window = np.outer(_bell(rows), _bell(columns))
    weights = window / (across**2 + down**2 + _TINY)
    # angles are doubled: an edge has no beginning and no end
    even = float((weights * (across**2 - down**2)).sum())
    odd = float((weights * -2 * across * down).sum())
    return float(np.rad2deg(np.arctan2(odd, even)) / 2)


def _bell(count: int) -> Matrix:
    """Return a normal curve over a side of the small picture, 1 in its middle."""
    distance = (np.arange(count) - (count - 1) / 2) / (WINDOW * SIDE)
    bell: Matrix = np.exp(-(distance**2) / 2)
    return bell


def _shrunk(pixels: Pixels, *, side: int) -> tuple[Pixels, Matrix]:
    """Return a picture whose longer side is at most ``side``, and the matrix that made it."""
    rows, columns = pixels.shape
    scale = min(1.0, side / max(rows, columns))
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    matrix = np.diag([size[0] / columns, size[1] / rows, 1.0])
    return np.asarray(small, dtype=np.float32), matrix


def _without_border(
    pixels: Pixels, matrix: Matrix, rule: PreprocessingRule
) -> tuple[Pixels, Matrix]:
    """Return the picture without the flat lines along its sides.

    What is constant goes first: beside the padding of an archive, far below all air, a line through
    the tips of fingers would count as flat. Round what is left some air stays.
    """
    for tolerance, margin in ((CONSTANT, 0.0), (rule.border_tolerance, MARGIN)):
        small, shrinking = _shrunk(pixels, side=SIDE)
        inside = find_exposed_area(small, tolerance=tolerance)
        shown = (np.asarray(inside.any(axis=1)), np.asarray(inside.any(axis=0)))
        (top, bottom), (left, right) = (
            _kept(
                shown[axis], pixels.shape[axis], scale=shrinking[1 - axis, 1 - axis], margin=margin
            )
            for axis in (0, 1)
        )
        if min(bottom - top, right - left) < LEAST_SIDE:
            break
        pixels = pixels[top:bottom, left:right]
        matrix = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]]) @ matrix
    return pixels, matrix


def _kept(
    lines: NDArray[np.generic], count: int, *, scale: float, margin: float
) -> tuple[int, int]:
    """Return the first line that is kept and the first after the last, of ``count``.

    Args:
        lines: which lines of the small picture are kept.
        count: lines of the picture itself.
        scale: lines of the small picture for one of it.
        margin: share of what is kept that is kept beyond it.
    """
    first, last = int(np.flatnonzero(lines)[0]), int(np.flatnonzero(lines)[-1])
    # a line of the small picture that the border's edge runs through holds some of the border
    begin = 0 if first == 0 else int(np.ceil((first + 1) / scale))
    end = count if last == lines.size - 1 else int(last / scale)
    beyond = round(margin * (end - begin))
    return max(0, begin - beyond), min(count, end + beyond)


def turned_whole(pixels: Pixels, *, degrees: float) -> tuple[Pixels, Matrix]:
    """Return the picture turned clockwise on a field that holds all of it, air around it.

    Returns:
        The picture, and the 3 by 3 matrix from the edges of its pixels to those of the new ones.
    """
    rows, columns = pixels.shape
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    width = round(rows * abs(sine) + columns * abs(cosine))
    height = round(rows * abs(cosine) + columns * abs(sine))
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    turn[:2, 2] = np.array([width, height]) / 2 - turn[:2, :2] @ np.array([columns, rows]) / 2
    turned = cv2.warpAffine(
        pixels,
        _between_middles(turn)[:2],
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderValue=[percentile(pixels, _AIR_PERCENTILE)],
    )
    return np.asarray(turned, dtype=np.float32), turn


def _between_middles(matrix: Matrix) -> Matrix:
    """Return a matrix between edges of pixels as one between their middles, as OpenCV counts."""
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    back: Matrix = np.linalg.inv(half) @ matrix @ half
    return back
