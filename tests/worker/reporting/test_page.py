"""What a page shows, judged on its pixels and on the words that were set on it."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.codes import FLAGS
from schemas.estimates import Heatmap, QualityFlag
from schemas.images import ChronologicalAge, DateSource, Sex
from schemas.refusals import RefusalReason
from schemas.results import ResultContent
from tests.builders import hand_pixels, hand_radiograph
from tests.worker.reporting import contents
from worker.reporting import canvas as canvas_module
from worker.reporting.canvas import OLDER, WARNING, YOUNGER, Canvas
from worker.reporting.page import HEIGHT, WIDTH, draw_page

HEADER = hand_radiograph()
PIXELS = hand_pixels().astype(np.float32)
FLAT = Heatmap(months=np.zeros((8, 8), dtype=np.float32), intercept_months=126.4)

Page = NDArray[np.uint8]


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect every word that is set on a page, while it is set for real."""
    written: list[str] = []
    write = Canvas.write

    def listen(self: Canvas, text: str, *args: object, **style: object) -> None:
        written.append(text)
        write(self, text, *args, **style)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Canvas, "write", listen)
    return written


def heatmap_of(*, at: tuple[int, int], months: float) -> Heatmap:
    values = np.zeros((8, 8), dtype=np.float32)
    values[at] = months
    return Heatmap(months=values, intercept_months=126.4 - months)


def colourful(page: Page, colour: tuple[int, int, int]) -> int:
    """Count pixels of the image's half that lean to ``colour``'s hue."""
    half = page[:900, :840].astype(int)
    red, blue = half[..., 0], half[..., 2]
    leaning = red - blue if colour[0] > colour[2] else blue - red
    return int((leaning > 40).sum())


@pytest.mark.parametrize(
    "content",
    [
        contents.estimated(HEADER),
        contents.of_unknown_sex(HEADER),
        contents.of_unknown_age(HEADER),
    ],
    ids=["estimate", "both sexes", "no age"],
)
def test_equal_results_give_equal_pages(content: ResultContent) -> None:
    first = draw_page(content, PIXELS, FLAT)
    again = draw_page(content, PIXELS, FLAT)

    assert first.shape == (HEIGHT, WIDTH, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)


def test_the_bone_age_is_said_in_years_with_months_beside(words: list[str]) -> None:
    draw_page(contents.estimated(HEADER), PIXELS, FLAT)

    assert "10 y 6 m" in words
    assert "126 months" in words
    assert "90 % interval  9 y 6 m to 11 y 7 m" in words


def test_the_headline_can_be_read_in_a_thumbnail() -> None:
    page = draw_page(contents.estimated(HEADER), PIXELS, FLAT)

    headline = page[50:220, 860:1580].mean(axis=2) > 150
    rows = np.flatnonzero(headline.any(axis=1))
    thumbnail = 512 / WIDTH
    assert (rows[-1] - rows[0]) * thumbnail > 24  # pixels, the height of large print


def test_a_child_of_unknown_sex_gets_two_values_but_no_headline(words: list[str]) -> None:
    draw_page(contents.of_unknown_sex(HEADER), PIXELS, FLAT)

    assert "SEX UNKNOWN" in words
    assert {"if a girl", "if a boy"} <= set(words)
    assert "BONE AGE" not in words


@pytest.mark.parametrize("reason", RefusalReason)
def test_a_refusal_shows_the_reason_but_no_bone_age(
    reason: RefusalReason, words: list[str]
) -> None:
    page = draw_page(contents.refused(HEADER, reason), PIXELS, None)

    assert page.shape == (HEIGHT, WIDTH, 3)
    assert "NOT ESTIMATED" in words
    assert not any("interval" in word for word in words)


def test_an_image_that_cannot_be_decoded_has_a_page_as_well(words: list[str]) -> None:
    draw_page(contents.refused(HEADER, RefusalReason.UNREADABLE_PIXELS), None, None)

    assert "No image to show" in words


@pytest.mark.parametrize(
    "content",
    [contents.estimated(HEADER), contents.of_unknown_sex(HEADER), contents.refused(HEADER)],
    ids=["estimate", "both sexes", "refusal"],
)
def test_every_page_says_that_it_is_not_for_diagnosis(
    content: ResultContent, words: list[str]
) -> None:
    draw_page(content, PIXELS, None if content.reason else FLAT)

    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSIS" in words
    assert any("boneage 2026.1" in word for word in words)
    assert any("2026-01-05 10:02+01:00" in word for word in words)


def test_a_phantom_is_marked(words: list[str]) -> None:
    content = contents.estimated(HEADER)
    phantom = replace(content, source=replace(content.source, is_phantom=True))

    draw_page(phantom, PIXELS, FLAT)

    assert "PHANTOM - not a child" in words


def test_the_value_before_the_calibration_of_the_site_stands_on_the_page(words: list[str]) -> None:
    draw_page(contents.calibrated_girl(HEADER), PIXELS, FLAT)

    assert any("Uncalibrated: 126" in word for word in words)
    assert "118 months" in words


def test_a_child_with_two_ages_gets_no_point_but_what_to_do(words: list[str]) -> None:
    page = draw_page(contents.of_contradicting_ages(HEADER), PIXELS, FLAT)

    assert "Girl, chronological age unknown: entries differ by over a year" in words
    assert "No Z-score: the chronological age is unknown." in words
    assert any("correct them" in word for word in words)
    assert not any(word.startswith("Z-score") for word in words)
    same = draw_page(replace(contents.of_unknown_age(HEADER)), PIXELS, FLAT)
    np.testing.assert_array_equal(page[560:900, 940:], same[560:900, 940:])


def test_the_chart_shows_how_wide_the_interval_is() -> None:
    wide, narrow = (
        draw_page(
            contents.estimated(HEADER, estimates=(contents.estimate_of(Sex.FEMALE, half_width=w),)),
            PIXELS,
            FLAT,
        )
        for w in (12.0, 9.0)
    )

    assert (wide[560:900, 940:] != narrow[560:900, 940:]).any()


def test_the_headline_stands_clear_of_what_viewers_write_over_the_corners() -> None:
    page = draw_page(contents.estimated(HEADER), PIXELS, FLAT)
    corner = page[:126, 1200:]  # four lines of Orthanc's viewer, with the page 1100 pixels wide

    assert (corner == canvas_module.BACKGROUND).all()


def test_the_page_says_that_it_is_about_one_image(words: list[str]) -> None:
    draw_page(contents.estimated(HEADER), PIXELS, FLAT)

    assert "About this one image: others of the study have their own page." in words


def test_the_doubts_stand_on_the_page(words: list[str]) -> None:
    content = contents.estimated(HEADER, flags=(QualityFlag.LOW_CONTRAST,))

    draw_page(content, PIXELS, FLAT)

    assert "Doubts: Low contrast." in words


def test_all_doubts_at_once_stand_on_the_page_above_the_band(words: list[str]) -> None:
    flags = tuple(QualityFlag)
    drawn = draw_page(contents.estimated(HEADER, flags=flags), PIXELS, FLAT)
    without = draw_page(contents.estimated(HEADER, flags=flags[-1:]), PIXELS, FLAT)

    said = " ".join(words)
    assert [flag for flag in flags if FLAGS[flag].meaning not in said] == []
    np.testing.assert_array_equal(drawn[1050:], without[1050:])


def test_nothing_is_written_over_the_radiograph() -> None:
    white = np.full((400, 300), 10, dtype=np.float32)
    white[10:-10, 10:-10] = 1000  # all but the rim is as bright as can be
    content = contents.estimated(HEADER)  # a marker may stand anywhere in the image
    phantom = replace(content, source=replace(content.source, is_phantom=True))

    page = draw_page(phantom, white, FLAT)

    bright = page[64:920, :840].min(axis=2) > 200
    rows, columns = np.nonzero(bright)
    inside = bright[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert inside.mean() > 0.99


def test_the_side_that_the_header_names_stands_above_the_image(words: list[str]) -> None:
    content = contents.estimated(HEADER)
    draw_page(content, PIXELS, FLAT)
    draw_page(replace(content, source=replace(content.source, laterality=None)), PIXELS, FLAT)

    assert {"Header: LEFT hand", "Header: side not stated"} <= set(words)


def test_what_makes_the_hand_look_older_is_orange() -> None:
    older = draw_page(contents.estimated(HEADER), PIXELS, heatmap_of(at=(3, 3), months=4))
    flat = draw_page(contents.estimated(HEADER), PIXELS, FLAT)

    assert colourful(older, OLDER) > colourful(flat, OLDER) + 1000
    assert colourful(older, YOUNGER) <= colourful(flat, YOUNGER) + 100


def test_what_makes_the_hand_look_younger_is_blue() -> None:
    younger = draw_page(contents.estimated(HEADER), PIXELS, heatmap_of(at=(3, 3), months=-4))
    flat = draw_page(contents.estimated(HEADER), PIXELS, FLAT)

    assert colourful(younger, YOUNGER) > colourful(flat, YOUNGER) + 1000


def test_the_colour_bar_says_what_a_colour_is_worth(words: list[str]) -> None:
    draw_page(contents.estimated(HEADER), PIXELS, heatmap_of(at=(2, 2), months=4.3))

    assert {"-5", "0", "+5"} <= set(words)
    said = " ".join(words)
    assert "contribution to the network's output, not the age of that bone" in said


def test_the_radiograph_keeps_its_proportions() -> None:
    wide = np.full((200, 400), 10, dtype=np.float32)
    wide[:, 200:] = 1000

    page = draw_page(contents.estimated(HEADER), wide, FLAT)

    bright = page[:900, :840].min(axis=2) > 240
    rows, columns = np.nonzero(bright[60:])  # below the label of the side
    shown = (np.ptp(rows) + 1) / (np.ptp(columns) + 1)
    assert shown == pytest.approx(200 / 200, abs=0.02)


@pytest.mark.parametrize("months", [0.0, 3.0, 228.0, 239.9])
def test_an_age_at_the_end_of_the_range_is_drawn(months: float) -> None:
    content = contents.estimated(HEADER)
    age = ChronologicalAge(months=months, source=DateSource.STUDY_DATE)
    source = replace(content.source, chronological_age=age)
    extreme = replace(content, source=source, estimates=(contents.estimate_of(Sex.FEMALE, months),))

    page = draw_page(contents.reassessed(extreme), PIXELS, FLAT)

    assert page.shape == (HEIGHT, WIDTH, 3)


def test_an_image_of_one_value_is_drawn() -> None:
    page = draw_page(contents.estimated(HEADER), np.ones((10, 10), dtype=np.float32), FLAT)

    assert page.shape == (HEIGHT, WIDTH, 3)


def test_no_words_leave_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    edges: list[tuple[str, float]] = []
    write = Canvas.write

    def listen(self: Canvas, text: str, at: tuple[float, float], **style: object) -> None:
        size = style["size"]
        assert isinstance(size, int)
        width = canvas_module.text_width(text, size=size, is_bold=bool(style.get("is_bold")))
        anchor = str(style.get("anchor", "la"))
        shares = {"l": 0.0, "m": 0.5, "r": 1.0}
        left = at[0] - shares[anchor[0]] * width
        if not style.get("is_upright"):
            edges.extend([(text, left), (text, left + width)])
        write(self, text, at, **style)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Canvas, "write", listen)
    long = replace(contents.RELEASE, name="a-release-with-a-very-long-name" * 3)
    for content in (
        contents.estimated(HEADER, release=long, flags=tuple(QualityFlag)),
        contents.of_unknown_sex(HEADER),
        contents.of_unknown_age(HEADER),
        contents.calibrated_girl(HEADER),
        *(contents.refused(HEADER, reason) for reason in RefusalReason),
    ):
        draw_page(content, PIXELS, None if content.reason else FLAT)

    assert [(text, edge) for text, edge in edges if not 0 <= edge <= WIDTH] == []


def test_the_warning_band_can_be_seen_from_afar() -> None:
    page = draw_page(contents.estimated(HEADER), PIXELS, FLAT)

    band = (page == np.array(WARNING, dtype=np.uint8)).all(axis=2)
    assert band.sum() > 0.03 * WIDTH * HEIGHT
