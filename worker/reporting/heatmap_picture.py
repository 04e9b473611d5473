"""The heatmap alone: the radiograph under its colours, as large as it goes.

The colours are those of the page, and so is the legend. Nothing on it names the child.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.estimates import Heatmap
from schemas.results import ResultContent
from worker.reporting import wording
from worker.reporting.canvas import BACKGROUND, QUIET, WARNING, Box, Canvas, Colour, Pixels
from worker.reporting.radiograph_panel import draw_colour_bar, draw_radiograph, draw_side

WIDTH, HEIGHT = 1200, 1600
_SIDE = Box(left=24, top=20, width=1152, height=36)
_SUBJECT_TOP = 52
_IMAGE = Box(left=24, top=112, width=1152, height=1268)  # as on the page
_BAR = Box(left=24, top=1392, width=1152, height=104)
_BANNER = Box(left=0, top=1504, width=WIDTH, height=56)
_FOOT_TOP = 1568


def draw_heatmap_picture(
    content: ResultContent, pixels: NDArray[np.float32], heatmap: Heatmap
) -> Pixels:
    """Return the picture, ``(1600, 1200, 3)`` RGB; equal arguments give equal pixels.

    Args:
        content: an estimate.
        pixels: ``(rows, columns)`` display values of the source image, bone bright.
        heatmap: contributions to the first estimate.
    """
    canvas = Canvas.blank(width=WIDTH, height=HEIGHT)
    draw_side(canvas, _SIDE, content.source.laterality)
    subject, colour = _subject(content)
    canvas.write(subject, (_SIDE.right, _SUBJECT_TOP), size=22, colour=colour, anchor="ra")
    draw_radiograph(canvas, _IMAGE, pixels, heatmap)
    draw_colour_bar(canvas, _BAR, heatmap)
    canvas.fill(_BANNER, WARNING)
    middle = (_BANNER.left + _BANNER.width / 2, _BANNER.top + _BANNER.height / 2)
    canvas.write(
        wording.RESEARCH_USE, middle, size=38, colour=BACKGROUND, is_bold=True, anchor="mm"
    )
    foot = f"{wording.made_with(content)}   {wording.made_at(content)}"
    canvas.write_within(foot, (24, _FOOT_TOP), width=WIDTH - 48, size=18, colour=QUIET)
    return canvas.finished()


def _subject(content: ResultContent) -> tuple[str, Colour]:
    """Return whose estimate the colours belong to; the number itself stands on the page."""
    if content.source.is_phantom:
        return wording.PHANTOM, WARNING
    return f"Heatmap: read as a {wording.SEX_WORDS[content.estimates[0].sex]}", QUIET
