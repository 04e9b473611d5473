"""A page to draw on: shapes by OpenCV, text by Pillow with the DejaVu fonts of matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, Required, TypedDict, Unpack

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]
Pixels = NDArray[np.uint8]

# a dark page: it is read in a dark room, beside radiographs
BACKGROUND: Colour = (14, 17, 22)
PANEL: Colour = (24, 28, 36)
LINE: Colour = (84, 92, 106)
TEXT: Colour = (236, 240, 245)
QUIET: Colour = (165, 174, 188)
# blue and orange are told apart by every common kind of colour vision (Okabe and Ito 2008)
OLDER: Colour = (255, 140, 26)
YOUNGER: Colour = (64, 156, 255)
WARNING: Colour = (255, 196, 0)

_SUBPIXEL_BITS = 4
_SMALLEST = 10  # pixels: below, words are a grey line


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of the page, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column to the right of it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + self.height


class Style(TypedDict, total=False):
    """How words look."""

    size: Required[int]  #: height of the font in pixels
    colour: Colour
    is_bold: bool
    anchor: Literal["la", "ma", "ra", "lm", "mm", "rm"]  #: which point of it, as Pillow names it
    is_upright: bool  #: reads from below, centred


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    text: str
    at: Point
    style: Style

    @property
    def face(self) -> ImageFont.FreeTypeFont:
        return font(size=self.style["size"], is_bold=self.style.get("is_bold", False))

    @property
    def colour(self) -> Colour:
        return self.style.get("colour", TEXT)


@dataclass(slots=True)
class Canvas:
    """RGB pixels, and the words that are set on them at the end."""

    pixels: Pixels
    _words: list[_Words] = field(default_factory=list)

    @staticmethod
    def blank(*, width: int, height: int, colour: Colour = BACKGROUND) -> "Canvas":
        """Return an empty page."""
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        pixels[:] = _row(colour, width=width)  # whole rows are copied faster than pixels
        return Canvas(pixels)

    def fill(self, box: Box, colour: Colour) -> None:
        """Fill a rectangle."""
        row = _row(colour, width=box.width)
        self.pixels[box.top : box.bottom, box.left : box.right] = row

    def frame(self, box: Box, colour: Colour) -> None:
        """Draw the border of a rectangle."""
        corners = ((box.left, box.top), (box.right - 1, box.bottom - 1))
        cv2.rectangle(self.pixels, corners[0], corners[1], colour, 1)

    def paste(self, picture: Pixels, *, left: int, top: int) -> None:
        """Put ``picture``, ``(rows, columns, 3)``, at its place."""
        rows, columns = picture.shape[:2]
        self.pixels[top : top + rows, left : left + columns] = picture

    def line(self, points: Sequence[Point], colour: Colour, *, width: int = 1) -> None:
        """Draw an open line, smooth to a sixteenth of a pixel."""
        cv2.polylines(
            self.pixels,
            [_fixed(points)],
            isClosed=False,
            color=colour,
            thickness=width,
            lineType=cv2.LINE_AA,
            shift=_SUBPIXEL_BITS,
        )

    def area(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(
            self.pixels, [_fixed(points)], colour, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS
        )

    def dot(self, at: Point, colour: Colour, *, radius: float, rim: Colour = BACKGROUND) -> None:
        """Draw a filled circle with a rim."""
        centre = _fixed([at])[0]
        for size, filling in ((radius + 3, rim), (radius, colour)):
            cv2.circle(
                self.pixels,
                (int(centre[0]), int(centre[1])),
                round(size * 2**_SUBPIXEL_BITS),
                filling,
                -1,
                cv2.LINE_AA,
                _SUBPIXEL_BITS,
            )

    def write(self, text: str, at: Point, **style: Unpack[Style]) -> None:
        """Set ``text`` at a point; see ``Style``."""
        self._words.append(_Words(text=text, at=at, style=style))

    def write_within(self, text: str, at: Point, *, width: float, **style: Unpack[Style]) -> None:
        """Set ``text`` smaller, should it be wider than ``width`` pixels; nothing is cut off."""
        is_bold = style.get("is_bold", False)
        while style["size"] > _SMALLEST and (
            text_width(text, size=style["size"], is_bold=is_bold) > width
        ):
            style["size"] -= 1
        self.write(text, at, **style)

    def finished(self) -> Pixels:
        """Return the page with its words, ``(rows, columns, 3)`` uint8."""
        image = Image.fromarray(self.pixels)
        drawing = ImageDraw.Draw(image)
        for words in self._words:
            if words.style.get("is_upright", False):
                _write_upright(image, words)
                continue
            anchor = words.style.get("anchor", "la")
            drawing.text(words.at, words.text, words.colour, font=words.face, anchor=anchor)
        return np.array(image, dtype=np.uint8)


def text_width(text: str, *, size: int, is_bold: bool = False) -> float:
    """Return how wide ``text`` is, in pixels."""
    return font(size=size, is_bold=is_bold).getlength(text)


def wrapped(text: str, *, size: int, width: float) -> list[str]:
    """Return ``text`` in lines that are no wider than ``width`` pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size=size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def font(*, size: int, is_bold: bool) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans in ``size`` pixels; it comes with matplotlib, the same everywhere."""
    name = "DejaVuSans-Bold.ttf" if is_bold else "DejaVuSans.ttf"
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _row(colour: Colour, *, width: int) -> Pixels:
    """Return one row of pixels, ``(width, 3)``."""
    return np.tile(np.array(colour, dtype=np.uint8), (width, 1))


def _fixed(points: Sequence[Point]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.rint(np.array(points) * 2**_SUBPIXEL_BITS).astype(np.int32)
    return fixed


def _write_upright(image: Image.Image, words: _Words) -> None:
    face = words.face
    left, top, right, bottom = face.getbbox(words.text)
    mask = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), words.text, fill=255, font=face)
    turned = mask.rotate(90, expand=True)
    corner = (
        round(words.at[0] - turned.width / 2),
        round(words.at[1] - turned.height / 2),
    )
    image.paste(
        words.colour, (*corner, corner[0] + turned.width, corner[1] + turned.height), turned
    )
