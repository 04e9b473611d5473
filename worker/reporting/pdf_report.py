"""A result on A4: the conclusion and the page as a picture, then all facts, black on white."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from schemas.codes import BONE_AGE_REPORT, NOT_ESTIMATED_REPORT
from schemas.results import SOFTWARE_NAME, ResultContent
from worker.reporting.canvas import WARNING, wrapped
from worker.reporting.chapters import answer_of, chapters_of
from worker.reporting.wording import RESEARCH_USE, conclusion, identity_sentence

# points, 72 to the inch
_WIDTH, _HEIGHT = 595.0, 842.0  # A4
_MARGIN = 42.0
_COLUMN = 190.0  # width of the names
_BAND = 20.0
_TEXT, _SMALL, _TITLE = 10, 8, 15  # letters
_LEADING = 1.35  # of the size of the letters


def build_pdf(content: ResultContent, page: NDArray[np.uint8]) -> bytes:
    """Return the document; equal arguments give equal bytes. It names nobody.

    Args:
        content: what was found.
        page: ``(rows, columns, 3)`` RGB, as in the secondary capture; kept without loss.
    """
    title = NOT_ESTIMATED_REPORT if content.reason else BONE_AGE_REPORT
    # the words are words, in TrueType: a reader can search and copy them
    with mpl.rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans"}):
        sheets = _Sheets(footer=_footer(content))
        sheets.write(title.meaning, size=_TITLE, is_bold=True)
        sheets.write(conclusion(content), size=_TEXT)
        sheets.write(identity_sentence(content), size=_SMALL)
        sheets.picture(page)
        for chapter in chapters_of(content):
            sheets.heading(chapter.concept.meaning)
            for fact in chapter.facts:
                sheets.row(fact.concept.meaning, answer_of(fact))
        return sheets.finished(
            {
                "Title": title.meaning,
                "Creator": SOFTWARE_NAME,
                "Producer": SOFTWARE_NAME,
                # matplotlib 3.11 turns the sign of an offset round; in UTC there is none
                "CreationDate": content.created_at.astimezone(UTC),
            }
        )


def _footer(content: ResultContent) -> str:
    release = content.release
    when = content.created_at.isoformat(sep=" ", timespec="minutes")
    return f"{when}   revision {content.revision}   release {release.name} {release.version}"


@dataclass(slots=True)
class _Sheets:
    """Sheets of paper, filled from the top; a new one begins where the old one is full."""

    footer: str
    _figures: list[Figure] = field(default_factory=list)
    _down: float = _HEIGHT  #: where the next thing begins; at first no sheet has room

    def write(self, text: str, *, size: int, is_bold: bool = False) -> None:
        for line in wrapped(text, size=size, width=0.97 * (_WIDTH - 2 * _MARGIN)):
            self._line([(_MARGIN, line)], size=size, is_bold=is_bold)
        self._down += 0.5 * size

    def heading(self, text: str) -> None:
        if self._down + 40 > _HEIGHT - _MARGIN:  # never the last thing on a sheet
            self._down = _HEIGHT
        self._down += 6
        self._line([(_MARGIN, text)], size=_TEXT, is_bold=True)

    def row(self, name: str, answer: str) -> None:
        room = _WIDTH - 2 * _MARGIN - _COLUMN
        names = wrapped(name, size=_SMALL, width=_COLUMN - 10)
        answers = list(_broken(answer, width=room))
        for index in range(max(len(names), len(answers))):
            cells = [(_MARGIN, names), (_MARGIN + _COLUMN, answers)]
            self._line(
                [(left, lines[index]) for left, lines in cells if index < len(lines)], size=_SMALL
            )

    def picture(self, page: NDArray[np.uint8]) -> None:
        rows, columns = page.shape[:2]
        width = _WIDTH - 2 * _MARGIN
        height = width * rows / columns
        sheet = self._room_for(height)
        axes = sheet.add_axes(
            (
                _MARGIN / _WIDTH,
                1 - (self._down + height) / _HEIGHT,
                width / _WIDTH,
                height / _HEIGHT,
            )
        )
        axes.imshow(page, interpolation="none", aspect="auto")
        axes.set_axis_off()
        self._down += height + 10

    def finished(self, metadata: dict[str, object]) -> bytes:
        target = BytesIO()
        with PdfPages(target, metadata=metadata) as pages:
            for figure in self._figures:
                pages.savefig(figure)
        return target.getvalue()

    def _line(self, cells: list[tuple[float, str]], *, size: int, is_bold: bool = False) -> None:
        sheet = self._room_for(size * _LEADING)
        for left, text in cells:
            _set(sheet, text, left=left, down=self._down, size=size, is_bold=is_bold)
        self._down += size * _LEADING

    def _room_for(self, height: float) -> Figure:
        if self._down + height > _HEIGHT - _MARGIN:
            self._figures.append(_blank(self.footer, number=len(self._figures) + 1))
            self._down = _MARGIN + _BAND
        return self._figures[-1]


def _blank(footer: str, *, number: int) -> Figure:
    """Return a sheet with what stands on each: the research-use line, and when it was made."""
    sheet = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72))
    band = Rectangle(
        (0, 1 - (_MARGIN - 22 + _BAND) / _HEIGHT),
        1,
        _BAND / _HEIGHT,
        transform=sheet.transFigure,
        facecolor=[channel / 255 for channel in WARNING],
    )
    sheet.add_artist(band)
    middle = 1 - (_MARGIN - 22 + _BAND / 2) / _HEIGHT
    sheet.text(0.5, middle, RESEARCH_USE, size=11, weight="bold", ha="center", va="center")
    _set(sheet, f"{footer}   sheet {number}", left=_MARGIN, down=_HEIGHT - 30, size=7)
    return sheet


def _set(
    sheet: Figure, text: str, *, left: float, down: float, size: int, is_bold: bool = False
) -> None:
    weight = "bold" if is_bold else "normal"
    plain = text.replace("$", r"\$")  # no formula is meant
    sheet.text(left / _WIDTH, 1 - down / _HEIGHT, plain, size=size, weight=weight, va="top")


def _broken(text: str, *, width: float) -> Iterator[str]:
    """Yield ``text`` in lines; a digest that is wider than a line is not broken."""
    yield from wrapped(text, size=_SMALL, width=width) or [""]
