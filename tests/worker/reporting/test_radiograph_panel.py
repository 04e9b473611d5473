"""The colours of the heatmap over the radiograph, held to the plain formula."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.estimates import Heatmap
from worker.reporting.canvas import OLDER, YOUNGER, Box, Canvas, Pixels
from worker.reporting.radiograph_panel import Scale, draw_radiograph

SIDE = 64
STRONGEST = 0.6  # share of colour at the limit of the scale
ONE_LEVEL = 1  # of 255: a half is rounded up or down, as float32 has it


def drawn(seed: int, heatmap: Heatmap | None) -> Pixels:
    pixels = np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)
    canvas = Canvas.blank(width=SIDE, height=SIDE)
    draw_radiograph(canvas, Box(left=0, top=0, width=SIDE, height=SIDE), pixels, heatmap)
    return canvas.finished()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31), months=st.floats(0.01, 40.0))
def test_a_month_more_or_less_colours_each_pixel_by_its_share_of_the_scale(
    seed: int, months: float
) -> None:
    fields = np.random.default_rng(seed + 1).uniform(-months, months, (SIDE, SIDE))
    heatmap = Heatmap(months=fields.astype(np.float32), intercept_months=0.0)

    share = STRONGEST * np.clip(fields / Scale.of(heatmap).limit_months, -1, 1)[..., np.newaxis]
    grey = drawn(seed, None).astype(float)
    hues = np.where(share > 0, np.array(OLDER, float), np.array(YOUNGER, float))
    plain = np.rint(grey * (1 - abs(share)) + hues * abs(share))

    assert np.abs(drawn(seed, heatmap) - plain).max() <= ONE_LEVEL
