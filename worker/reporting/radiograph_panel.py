"""The radiograph with the signed heatmap, and its colour bar in months."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.estimates import Heatmap
from worker.reporting.canvas import (
    LINE,
    OLDER,
    QUIET,
    TEXT,
    YOUNGER,
    Box,
    Canvas,
    Pixels,
)
from worker.reporting.wording import HEATMAP_LEGEND

_STRONGEST = 0.6  # share of colour where the contribution is largest; bone stays visible
_SHOWN_PERCENT = (1.0, 99.7)  # of the pixels shown, black and white: display only, no number
_LEAST_LIMIT_MONTHS = 0.1  # a map without contributions must not look busy
_SIDE_WORDS = {"L": "LEFT hand", "R": "RIGHT hand"}
_BAR_BEHIND = 96  # mid grey, as bone and soft tissue are on the page
#: from what is left of the grey, and the shares of the two colours, to red, green and blue
_MIXING = np.array([(1, *hues) for hues in zip(OLDER, YOUNGER, strict=True)], dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The colours of one map: ``limit_months`` is full colour on either side."""

    limit_months: float
    fields: tuple[int, int]  #: rows and columns of the map

    @staticmethod
    def of(heatmap: Heatmap) -> "Scale":
        """Return the scale that just holds every field of ``heatmap``."""
        largest = float(np.abs(heatmap.months).max())
        rows, columns = heatmap.months.shape
        return Scale(
            limit_months=_round_up(max(largest, _LEAST_LIMIT_MONTHS)), fields=(rows, columns)
        )


def draw_radiograph(
    canvas: Canvas, box: Box, pixels: NDArray[np.float32], heatmap: Heatmap | None
) -> Box:
    """Draw the image as large as ``box`` allows, never turned or mirrored; return its place.

    Args:
        canvas: what to draw on.
        box: the room for it.
        pixels: ``(rows, columns)`` display values, bone bright, any range.
        heatmap: over the whole of ``pixels``; none: the radiograph alone.
    """
    rows, columns = pixels.shape
    zoom = min(box.width / columns, box.height / rows)
    width, height = max(1, round(columns * zoom)), max(1, round(rows * zoom))
    grey = _to_grey(_resized(pixels, width=width, height=height))
    if heatmap is None:
        picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    else:
        shares = _resized(heatmap.months, width=width, height=height)
        picture = _coloured(grey, shares / np.float32(Scale.of(heatmap).limit_months))
    place = Box(
        left=box.left + (box.width - width) // 2,
        top=box.top + (box.height - height) // 2,
        width=width,
        height=height,
    )
    canvas.paste(picture, left=place.left, top=place.top)
    return place


def draw_missing_image(canvas: Canvas, box: Box) -> None:
    """Say that there is no image to show."""
    canvas.frame(box, LINE)
    middle = (box.left + box.width / 2, box.top + box.height / 2)
    canvas.write("No image to show", middle, size=34, colour=QUIET, anchor="mm")


def draw_colour_bar(canvas: Canvas, box: Box, heatmap: Heatmap) -> None:
    """Draw the scale in months, with what it means, from left (younger) to right (older)."""
    scale = Scale.of(heatmap)
    bar = Box(left=box.left + 96, top=box.top + 4, width=box.width - 192, height=22)
    shares = np.linspace(-1, 1, bar.width, dtype=np.float32)[np.newaxis].repeat(bar.height, axis=0)
    behind = np.full((bar.height, bar.width), _BAR_BEHIND, dtype=np.uint8)
    canvas.paste(_coloured(behind, shares), left=bar.left, top=bar.top)
    middle = bar.top + bar.height / 2
    canvas.write("younger", (bar.left - 12, middle), size=20, colour=YOUNGER, anchor="rm")
    canvas.write("older", (bar.right + 12, middle), size=20, colour=OLDER, anchor="lm")
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        across = bar.left + (share + 1) / 2 * (bar.width - 1)
        canvas.line([(across, bar.bottom), (across, bar.bottom + 6)], QUIET)
        months = f"{share * scale.limit_months:+g}" if share else "0"
        canvas.write(months, (across, bar.bottom + 8), size=18, colour=QUIET, anchor="ma")
    rows, columns = scale.fields
    legend = (f"Months in each of {rows} x {columns} fields:", HEATMAP_LEGEND)
    for index, line in enumerate(legend):
        at = (box.left + box.width / 2, bar.bottom + 36 + 24 * index)
        canvas.write(line, at, size=19, colour=TEXT, anchor="ma")


def draw_side(canvas: Canvas, place: Box, laterality: str | None) -> None:
    """Say above the image which hand the header names; a marker in the image stays to be seen."""
    side = _SIDE_WORDS.get(laterality or "", "side not stated")
    at = (place.right, place.top)  # viewers write into the left corner
    canvas.write(f"Header: {side}", at, size=22, colour=QUIET, anchor="ra")


def _to_grey(shown: NDArray[np.float32]) -> Pixels:
    fewer = shown[::2, ::2].ravel()  # a quarter of the pixels tells the same
    low, high = (
        # one at a time: that NumPy has a fast way for
        np.partition(fewer, at)[at]
        for at in (round(percent / 100 * (fewer.size - 1)) for percent in _SHOWN_PERCENT)
    )
    levels = shown - low
    levels *= np.float32(255 / max(float(high - low), 1e-6))
    np.clip(levels, 0, 255, out=levels)
    grey: Pixels = np.rint(levels, out=levels).astype(np.uint8)
    return grey


def _coloured(grey: Pixels, shares: NDArray[np.float32]) -> Pixels:
    """Lay colour over ``grey`` as strong as ``shares``, -1 … 1, both ``(rows, columns)``."""
    strength = np.clip(shares, -1, 1)
    strength *= np.float32(_STRONGEST)
    older, younger = np.maximum(strength, 0), np.maximum(-strength, 0)
    left = grey * (1 - np.abs(strength))
    mixed = cv2.transform(cv2.merge([left, older, younger]), _MIXING)
    return np.asarray(cv2.convertScaleAbs(mixed), dtype=np.uint8)  # rounds; nothing is negative


def _resized(values: NDArray[np.float32], *, width: int, height: int) -> NDArray[np.float32]:
    """Return ``values`` as ``(height, width)``: averaged when smaller, smooth when larger."""
    is_smaller = values.shape[0] > height
    kind = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    shown = cv2.resize(values, (width, height), interpolation=kind)
    return shown.astype(np.float32, copy=False)


def _round_up(value: float) -> float:
    """Return the next number of the form 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999)
