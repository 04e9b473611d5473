"""Words are set as Pillow sets them on a whole page, pixel by pixel."""

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from worker.reporting.canvas import OLDER, WARNING, Canvas, font

Anchor = Literal["la", "ma", "ra", "lm", "mm", "rm"]


def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (120, 400, 3), dtype=np.uint8)


def set_by_pillow(text: str, at: tuple[float, float], anchor: Anchor) -> NDArray[np.uint8]:
    image = Image.fromarray(noise())
    face = font(size=30, is_bold=True)
    ImageDraw.Draw(image).text(at, text, OLDER, font=face, anchor=anchor)
    return np.array(image, dtype=np.uint8)


@pytest.mark.parametrize("anchor", ["la", "ma", "ra", "lm", "mm", "rm"])
@pytest.mark.parametrize("at", [(200.0, 60.0), (200.3, 60.75)])
def test_words_look_as_if_pillow_had_drawn_them(anchor: Anchor, at: tuple[float, float]) -> None:
    canvas = Canvas(noise())
    canvas.write("10 y 6 m, (g)", at, size=30, colour=OLDER, is_bold=True, anchor=anchor)

    np.testing.assert_array_equal(canvas.finished(), set_by_pillow("10 y 6 m, (g)", at, anchor))


@pytest.mark.parametrize("at", [(-40.0, 30.0), (390.0, 50.0), (200.0, -20.0), (200.0, 110.0)])
def test_of_words_over_the_edge_the_part_on_the_page_is_set(at: tuple[float, float]) -> None:
    canvas = Canvas(noise())
    canvas.write("younger", at, size=30, colour=OLDER, is_bold=True)

    np.testing.assert_array_equal(canvas.finished(), set_by_pillow("younger", at, "la"))


def test_words_outside_the_page_change_nothing() -> None:
    canvas = Canvas(noise())
    for at in ((-500.0, 30.0), (500.0, 30.0), (200.0, -90.0), (200.0, 300.0)):
        canvas.write("older", at, size=30, colour=WARNING)

    np.testing.assert_array_equal(canvas.finished(), noise())


def test_the_same_words_in_another_colour_are_set_in_that_colour() -> None:
    one, other = Canvas(np.zeros_like(noise())), Canvas(np.zeros_like(noise()))
    one.write("III", (10, 10), size=60, colour=(200, 0, 0))
    other.write("III", (10, 10), size=60, colour=(0, 0, 100))

    red, blue = one.finished(), other.finished()

    assert (red.max(axis=(0, 1)) == (200, 0, 0)).all()
    assert (blue.max(axis=(0, 1)) == (0, 0, 100)).all()
