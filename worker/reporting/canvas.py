"""A page to draw on: shapes by OpenCV, letters by Pillow with the DejaVu fonts of matplotlib."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
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
_CHANNELS = 3
_KEPT_INKS = 256  # most words of a page stand on every page, at the same place


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

    def ink(self) -> "_Ink":
        if self.style.get("is_upright", False):
            return _upright(self.text, size=self.style["size"])
        return _level(
            self.text,
            size=self.style["size"],
            is_bold=self.style.get("is_bold", False),
            anchor=self.style.get("anchor", "la"),
            start=(math.modf(self.at[0])[0], math.modf(self.at[1])[0]),
        )

    @property
    def colour(self) -> Colour:
        return self.style.get("colour", TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ink:
    """How much of each pixel a word covers, and where that lies from the point it is set at."""

    share: NDArray[np.uint16]  #: ``(rows, columns x 3)`` of the page's channels, 255 is all of it
    left: int
    top: int


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
        """Set the words, and return the page, ``(rows, columns, 3)`` uint8."""
        while self._words:
            words = self._words.pop(0)
            ink = words.ink()
            _set(self.pixels, ink, at=(int(words.at[0]), int(words.at[1])), colour=words.colour)
        return self.pixels


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


@lru_cache(maxsize=_KEPT_INKS)
def _level(text: str, *, size: int, is_bold: bool, anchor: str, start: Point) -> _Ink:
    """Return the ink of a line of text; ``start``: what its point has of a pixel."""
    face = font(size=size, is_bold=is_bold)
    box = face.getbbox(text, anchor=anchor)
    left, top = math.floor(box[0]) - 1, math.floor(box[1]) - 1
    room = (math.ceil(box[2]) + 2 - left, math.ceil(box[3]) + 2 - top)
    mask = Image.new("L", room)
    at = (start[0] - left, start[1] - top)
    ImageDraw.Draw(mask).text(at, text, fill=255, font=face, anchor=anchor)
    return _ink(np.asarray(mask), left=left, top=top)


def _upright(text: str, *, size: int) -> _Ink:
    """Return the ink of a line that reads from below, centred."""
    face = font(size=size, is_bold=False)
    left, top, right, bottom = face.getbbox(text)
    mask = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=face)
    cover = np.rot90(np.asarray(mask))
    return _ink(cover, left=-round(cover.shape[1] / 2), top=-round(cover.shape[0] / 2))


def _ink(cover: Pixels, *, left: int, top: int) -> _Ink:
    share = cover.astype(np.uint16).repeat(_CHANNELS, axis=1)
    return _Ink(share=share, left=left, top=top)


def _set(pixels: Pixels, ink: _Ink, *, at: tuple[int, int], colour: Colour) -> None:
    """Mix ``colour`` into ``pixels`` where the ink is, as Pillow does; what is outside is lost."""
    left, top = _CHANNELS * (at[0] + ink.left), at[1] + ink.top
    rows, values = ink.share.shape
    page = pixels.reshape(len(pixels), -1)  # long rows: many times faster than threes
    place = page[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + values, 0)]
    share = ink.share[max(-top, 0) :, max(-left, 0) :][: place.shape[0], : place.shape[1]]
    mixed = place * (255 - share)
    mixed += share * np.tile(np.array(colour, dtype=np.uint16), place.shape[1] // _CHANNELS)
    mixed += 128
    mixed += mixed >> 8  # a division by 255, rounded
    place[:] = mixed >> 8
