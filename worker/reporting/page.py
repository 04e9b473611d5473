"""One page that a tired radiologist reads in ten seconds: image, bone age, chart, doubts.

Nothing on it names the child: no name, no ID, no birth date.
"""

import numpy as np
from numpy.typing import NDArray

from schemas.assessments import MaturityClass
from schemas.codes import REFUSAL_REASONS
from schemas.estimates import BoneAgeEstimate, Heatmap, QualityFlag
from schemas.results import ResultContent
from worker.reporting import wording
from worker.reporting.canvas import (
    BACKGROUND,
    LINE,
    OLDER,
    PANEL,
    QUIET,
    TEXT,
    WARNING,
    YOUNGER,
    Box,
    Canvas,
    Colour,
    Pixels,
    text_width,
    wrapped,
)
from worker.reporting.chart_panel import SEX_COLOURS, draw_chart
from worker.reporting.radiograph_panel import (
    draw_colour_bar,
    draw_missing_image,
    draw_radiograph,
    draw_side,
)

WIDTH, HEIGHT = 1600, 1200
_SIDE = Box(left=24, top=24, width=800, height=36)
# below what viewers write into the corners: a marker of the side must stay readable
_IMAGE = Box(left=24, top=112, width=800, height=908)
_IMAGE_WITH_BAR = Box(left=24, top=112, width=800, height=806)
_PHANTOM_HEIGHT = 64
_BAR = Box(left=24, top=932, width=800, height=104)
_RIGHT = Box(left=864, top=24, width=712, height=1000)
_CLEAR_OF_VIEWERS = 500  # from the left of this column: Orthanc writes into the right corner
_CHART = Box(left=864, top=546, width=712, height=420)
_FLAGS_TOP = 970
_FLAG_SIZES = {23: 3, 19: 3, 17: 4}  #: size of the letters, and how many such lines fit
_BANNER = Box(left=0, top=1056, width=WIDTH, height=72)
_FOOT_TOP = 1142
_CLASS_COLOURS: dict[MaturityClass, Colour] = {
    MaturityClass.WITHIN: TEXT,
    MaturityClass.ADVANCED: OLDER,
    MaturityClass.DELAYED: YOUNGER,
    MaturityClass.NOT_SEPARABLE: WARNING,
}


def draw_page(
    content: ResultContent, pixels: NDArray[np.float32] | None, heatmap: Heatmap | None
) -> Pixels:
    """Return the page, ``(1200, 1600, 3)`` RGB; equal arguments give equal pixels.

    Args:
        content: what was found.
        pixels: ``(rows, columns)`` display values of the source image, bone bright; None where
            it could not be decoded.
        heatmap: contributions to the first estimate; None for a refusal.
    """
    canvas = Canvas.blank(width=WIDTH, height=HEIGHT)
    _draw_image(canvas, content, pixels, heatmap)
    if content.reason is not None:
        _draw_refusal(canvas, content)
    elif content.source.sex.sex is None:
        _draw_both_sexes(canvas, content)
    else:
        _draw_estimate(canvas, content, content.estimates[0])
    _draw_foot(canvas, content)
    return canvas.finished()


def _draw_image(
    canvas: Canvas,
    content: ResultContent,
    pixels: NDArray[np.float32] | None,
    heatmap: Heatmap | None,
) -> None:
    """Draw the radiograph; nothing is written over it, for it may hold a marker anywhere."""
    draw_side(canvas, _SIDE, content.source.laterality)
    box = _IMAGE if heatmap is None else _IMAGE_WITH_BAR
    if content.source.is_phantom or QualityFlag.PHANTOM in content.flags:
        box = _mark_phantom(canvas, box)
    if heatmap is not None:
        draw_colour_bar(canvas, _BAR, heatmap)
    if pixels is None:
        draw_missing_image(canvas, box)
        return
    draw_radiograph(canvas, box, pixels, heatmap)


def _mark_phantom(canvas: Canvas, box: Box) -> Box:
    """Mark the lower end of ``box``; return what is left of it."""
    top = box.bottom - _PHANTOM_HEIGHT
    mark = Box(left=box.left, top=top, width=box.width, height=_PHANTOM_HEIGHT)
    canvas.fill(mark, WARNING)
    middle = (mark.left + mark.width / 2, mark.top + mark.height / 2)
    canvas.write(wording.PHANTOM, middle, size=42, colour=BACKGROUND, is_bold=True, anchor="mm")
    return Box(left=box.left, top=box.top, width=box.width, height=top - box.top - 6)


def _draw_estimate(canvas: Canvas, content: ResultContent, estimate: BoneAgeEstimate) -> None:
    left, top = _RIGHT.left, _RIGHT.top
    canvas.write("BONE AGE", (left, top), size=30, colour=QUIET, is_bold=True)
    years = wording.years_and_months(estimate.age_months)
    width = _RIGHT.width
    # viewers write name and series over the upper corners: the number stands below that
    canvas.write_within(years, (left - 4, top + 104), width=width, size=116, is_bold=True)
    canvas.write(f"{round(estimate.age_months)} months", (left, top + 234), size=46, is_bold=True)
    canvas.write_within(_interval_line(estimate), (left, top + 292), width=width, size=36)
    details = _details_line(estimate)
    canvas.write_within(details, (left, top + 336), width=width, size=22, colour=QUIET)
    _draw_context(canvas, content, top=top + 376)
    draw_chart(canvas, _CHART, content)
    _draw_flags(canvas, content)


def _draw_both_sexes(canvas: Canvas, content: ResultContent) -> None:
    """Draw both values at one size, so that neither is the headline."""
    left, top = _RIGHT.left, _RIGHT.top
    canvas.write("SEX UNKNOWN", (left, top), size=44, colour=WARNING, is_bold=True)
    canvas.write_within(wording.NO_HEADLINE, (left, top + 62), width=_CLEAR_OF_VIEWERS, size=25)
    width = (_RIGHT.width - 24) // 2
    for index, estimate in enumerate(content.estimates):
        box = Box(left=left + index * (width + 24), top=top + 110, width=width, height=206)
        _draw_conditional(canvas, box, estimate)
    shown = wording.SEX_WORDS[content.estimates[0].sex]
    note = f"Heatmap: read as a {shown}."
    canvas.write(note, (left, top + 338), size=20, colour=QUIET)
    _draw_context(canvas, content, top=top + 376)
    draw_chart(canvas, _CHART, content)
    _draw_flags(canvas, content)


def _draw_conditional(canvas: Canvas, box: Box, estimate: BoneAgeEstimate) -> None:
    colour = SEX_COLOURS[estimate.sex]
    canvas.fill(box, PANEL)
    canvas.fill(Box(left=box.left, top=box.top, width=8, height=box.height), colour)
    left = box.left + 26
    title = f"if a {wording.SEX_WORDS[estimate.sex]}"
    canvas.write(title, (left, box.top + 14), size=28, colour=colour, is_bold=True)
    words = wording.years_and_months(estimate.age_months)
    room = box.right - left - 12
    canvas.write_within(words, (left, box.top + 54), width=room, size=54, is_bold=True)
    canvas.write(f"{round(estimate.age_months)} months", (left, box.top + 122), size=26)
    interval = estimate.interval
    span = f"{round(interval.low_months)} to {round(interval.high_months)} months"
    span = f"{_percent(estimate)}: {span}"
    if estimate.uncalibrated_months is not None:
        span += f" ({round(estimate.uncalibrated_months)} uncalibrated)"
    canvas.write_within(span, (left, box.top + 160), width=room, size=22, colour=QUIET)


def _draw_refusal(canvas: Canvas, content: ResultContent) -> None:
    left, top = _RIGHT.left, _RIGHT.top
    canvas.write("BONE AGE", (left, top + 40), size=72, is_bold=True)
    canvas.write("NOT ESTIMATED", (left, top + 124), size=72, is_bold=True)
    if content.reason is None:
        return
    reason = REFUSAL_REASONS[content.reason].meaning
    at = (left, top + 252)
    canvas.write_within(reason, at, width=_RIGHT.width, size=44, colour=WARNING, is_bold=True)
    down = top + 330
    for line in wrapped(wording.refusal_phrase(content.reason), size=32, width=_RIGHT.width):
        canvas.write(line, (left, down), size=32)
        down += 44
    if content.reason_detail:
        down += 20
        for line in wrapped(f"Found: {content.reason_detail}", size=24, width=_RIGHT.width):
            canvas.write(line, (left, down), size=24, colour=QUIET)
            down += 32
    canvas.write(wording.age_sentence(content), (left, down + 28), size=24, colour=QUIET)
    _draw_flags(canvas, content)


def _draw_context(canvas: Canvas, content: ResultContent, *, top: int) -> None:
    """Draw chronological age, class and Z-score."""
    left = _RIGHT.left
    canvas.line([(left, top - 8), (_RIGHT.right, top - 8)], LINE)
    canvas.write_within(_age_line(content), (left, top + 4), width=_RIGHT.width, size=29)
    assessment = content.assessment
    if assessment is None:
        missing = content.no_assessment
        words = wording.NO_ASSESSMENT_WORDS[missing] if missing else ""
        canvas.write_within(words, (left, top + 48), width=_RIGHT.width, size=29, colour=WARNING)
        _draw_advice(canvas, content, top=top + 90)
        return
    colour = _CLASS_COLOURS[assessment.maturity]
    word = wording.maturity_word(assessment.maturity)
    canvas.write(word, (left, top + 48), size=34, colour=colour, is_bold=True)
    score = f"Z-score {assessment.z_score:+.2f}   SD {assessment.sd_months:.1f} months"
    table = wording.TABLE_NAMES[assessment.reference]
    canvas.write_within(f"{score}   {table}", (left, top + 98), width=_RIGHT.width, size=24)


def _draw_advice(canvas: Canvas, content: ResultContent, *, top: int) -> None:
    for advice in wording.age_advice(content):
        for index, line in enumerate(wrapped(advice, size=21, width=_RIGHT.width)):
            canvas.write(line, (_RIGHT.left, top + 27 * index), size=21)


def _draw_flags(canvas: Canvas, content: ResultContent) -> None:
    """Draw all doubts, in letters as large as their number allows."""
    if not content.flags:
        return
    doubts = "Doubts: " + "; ".join(wording.flag_phrase(flag) for flag in content.flags) + "."
    fitting = (
        size
        for size, most in _FLAG_SIZES.items()
        if len(wrapped(doubts, size=size, width=_RIGHT.width)) <= most
    )
    size = next(fitting, min(_FLAG_SIZES))  # a test has all of them on one page
    for index, line in enumerate(wrapped(doubts, size=size, width=_RIGHT.width)):
        at = (_RIGHT.left, _FLAGS_TOP + round(1.25 * size) * index)
        canvas.write(line, at, size=size, colour=WARNING)


def _draw_foot(canvas: Canvas, content: ResultContent) -> None:
    canvas.fill(_BANNER, WARNING)
    middle = (_BANNER.left + _BANNER.width / 2, _BANNER.top + _BANNER.height / 2)
    canvas.write(
        wording.RESEARCH_USE, middle, size=46, colour=BACKGROUND, is_bold=True, anchor="mm"
    )
    made, revision = wording.made_with(content), wording.made_at(content)
    canvas.write(revision, (WIDTH - 24, _FOOT_TOP), size=20, colour=QUIET, anchor="ra")
    room = WIDTH - 72 - text_width(revision, size=20)
    canvas.write_within(made, (24, _FOOT_TOP), width=room, size=20, colour=QUIET)
    canvas.write(wording.SCOPE_ON_PAGE, (24, _FOOT_TOP + 26), size=18, colour=QUIET)


def _percent(estimate: BoneAgeEstimate) -> str:
    return f"{round(estimate.interval.coverage * 100)} %"


def _interval_line(estimate: BoneAgeEstimate) -> str:
    low = wording.years_and_months(estimate.interval.low_months)
    high = wording.years_and_months(estimate.interval.high_months)
    return f"{_percent(estimate)} interval  {low} to {high}"


def _details_line(estimate: BoneAgeEstimate) -> str:
    low, high = estimate.interval.low_months, estimate.interval.high_months
    values = ", ".join(str(round(member.age_months)) for member in estimate.members)
    span = f"{round(low)} to {round(high)} months"
    if estimate.uncalibrated_months is not None:
        span += f"   Uncalibrated: {round(estimate.uncalibrated_months)}"
    return span if len(estimate.members) == 1 else f"{span}   Networks: {values} months"


def _age_line(content: ResultContent) -> str:
    sex = content.source.sex.sex
    who = f"{wording.SEX_WORDS[sex].capitalize()}, " if sex else ""
    sentence = wording.age_sentence(content).rstrip(".")
    return who + (sentence[0].lower() + sentence[1:] if who else sentence)
