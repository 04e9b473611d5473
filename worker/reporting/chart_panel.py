"""The growth chart: bone age over chronological age, the SD bands and the child's point."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from schemas.assessments import Centring, ReferenceTable, SiteProfile
from schemas.estimates import BoneAgeEstimate
from schemas.growth import GROWTH_TABLES, GrowthTable
from schemas.images import Sex
from schemas.results import ResultContent
from worker.reporting.canvas import (
    BACKGROUND,
    LINE,
    PANEL,
    QUIET,
    TEXT,
    Box,
    Canvas,
    Pixels,
    Point,
)
from worker.reporting.wording import CENTRING_WORDS, SEX_WORDS, TABLE_NAMES

_LAST_YEAR = 20
_STEP_MONTHS = 3.0
_DOT = 6  # small enough to leave the ends of an interval of a year to be seen
_TWO_SD: tuple[int, int, int] = (44, 56, 74)
_ONE_SD: tuple[int, int, int] = (62, 82, 108)
_CENTRE: tuple[int, int, int] = (150, 170, 196)
#: not the colours of older and younger; Okabe and Ito's bluish green and reddish purple, lighter
SEX_COLOURS = {Sex.FEMALE: (60, 210, 165), Sex.MALE: (224, 150, 200)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    """Where months are on a chart of a certain size."""

    width: int
    height: int

    @property
    def plot(self) -> Box:
        return Box(left=74, top=12, width=self.width - 92, height=self.height - 86)

    def at(self, *, age_months: float, bone_months: float) -> Point:
        plot, last = self.plot, _LAST_YEAR * 12
        across = min(max(age_months, 0), last) / last
        up = min(max(bone_months, 0), last) / last
        return plot.left + across * (plot.width - 1), plot.bottom - 1 - up * (plot.height - 1)


def draw_chart(canvas: Canvas, box: Box, content: ResultContent) -> None:
    """Draw the chart of one result into ``box``."""
    sex = content.source.sex.sex
    axes = _Axes(width=box.width, height=box.height)
    canvas.paste(_background(axes, sex, _band_of(content.profile)), left=box.left, top=box.top)
    for estimate in content.estimates:
        _draw_point(canvas, box, axes, content, estimate)


def _band_of(profile: SiteProfile) -> tuple[ReferenceTable, Centring]:
    return profile.reference, profile.centring


def _draw_point(
    canvas: Canvas, box: Box, axes: _Axes, content: ResultContent, estimate: BoneAgeEstimate
) -> None:
    """Draw estimate and interval at the child's age; without an age, as lines across."""
    is_certain = content.source.sex.sex is not None
    colour = TEXT if is_certain else SEX_COLOURS[estimate.sex]
    age = content.source.chronological_age
    low, high = estimate.interval.low_months, estimate.interval.high_months

    def at(age_months: float, bone_months: float) -> Point:
        across, down = axes.at(age_months=age_months, bone_months=bone_months)
        return box.left + across, box.top + down

    if age is None:
        for months, width in ((low, 1), (estimate.age_months, 3), (high, 1)):
            canvas.line([at(0, months), at(_LAST_YEAR * 12, months)], colour, width=width)
        words = "bone age" if is_certain else SEX_WORDS[estimate.sex]
        across, down = at(6 if is_certain or estimate.sex is Sex.FEMALE else 48, high)
        canvas.write(words, (across, down - 24), size=19, colour=colour, is_bold=True)
        return
    # two conditional points stand side by side, so that neither hides the other
    beside = {Sex.FEMALE: -2.5, Sex.MALE: 2.5}[estimate.sex] if not is_certain else 0.0
    across = age.months + beside
    canvas.line([at(across, low), at(across, high)], colour, width=3)
    for end in (low, high):
        canvas.line([at(across - 2, end), at(across + 2, end)], colour, width=3)
    canvas.dot(at(across, estimate.age_months), colour, radius=_DOT)
    if not is_certain:
        where = at(across, estimate.age_months)
        is_left = beside < 0
        canvas.write(
            SEX_WORDS[estimate.sex],
            (where[0] + (-18 if is_left else 18), where[1]),
            size=20,
            colour=colour,
            is_bold=True,
            anchor="rm" if is_left else "lm",
        )


@cache
def _background(axes: _Axes, sex: Sex | None, band: tuple[ReferenceTable, Centring]) -> Pixels:
    """Return everything that does not depend on the child; a few of these exist."""
    canvas = Canvas.blank(width=axes.width, height=axes.height)
    canvas.fill(axes.plot, PANEL)
    if sex is not None:
        _draw_bands(canvas, axes, GROWTH_TABLES[band[0], sex], band[1])
    _draw_grid(canvas, axes)
    caption = "No SD band: the sex is unknown"
    if sex is not None:
        caption = f"{TABLE_NAMES[band[0]]}, {SEX_WORDS[sex]}s; 1 and 2 SD {CENTRING_WORDS[band[1]]}"
    middle = axes.plot.left + axes.plot.width / 2
    canvas.write("Chronological age, years", (middle, axes.height - 45), size=18, anchor="ma")
    canvas.write(caption, (middle, axes.height - 20), size=16, colour=QUIET, anchor="ma")
    centre = axes.plot.top + axes.plot.height / 2
    canvas.write("Bone age, years", (16, centre), size=18, is_upright=True)
    return canvas.finished()


def _draw_bands(canvas: Canvas, axes: _Axes, table: GrowthTable, centring: Centring) -> None:
    """Draw the bands where the table has rows, and nowhere else."""
    first, last = table.ages_months[0], table.ages_months[-1]
    ages = np.arange(first, last + _STEP_MONTHS / 2, _STEP_MONTHS)
    centres: list[float] = []
    deviations: list[float] = []
    for age in ages:
        norm = table.at(float(age))
        if norm is None:
            continue
        is_mean = centring is Centring.TABLE_MEAN and norm.mean_months is not None
        centres.append(norm.mean_months if is_mean and norm.mean_months else float(age))
        deviations.append(norm.sd_months)

    def edge(count: float) -> list[Point]:
        return [
            axes.at(age_months=float(age), bone_months=centre + count * deviation)
            for age, centre, deviation in zip(ages, centres, deviations, strict=True)
        ]

    for count, colour in ((2, _TWO_SD), (1, _ONE_SD)):
        canvas.area([*edge(count), *reversed(edge(-count))], colour)
    canvas.line(edge(0), _CENTRE, width=2)


def _draw_grid(canvas: Canvas, axes: _Axes) -> None:
    plot = axes.plot
    for year in range(0, _LAST_YEAR + 1, 2):
        across, down = axes.at(age_months=year * 12, bone_months=year * 12)
        canvas.line([(across, plot.top), (across, plot.bottom - 1)], LINE)
        canvas.line([(plot.left, down), (plot.right - 1, down)], LINE)
        canvas.write(str(year), (across, plot.bottom + 6), size=18, colour=QUIET, anchor="ma")
        canvas.write(str(year), (plot.left - 10, down), size=18, colour=QUIET, anchor="rm")
    canvas.frame(plot, BACKGROUND)
