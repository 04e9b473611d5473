import numpy as np
import pytest

from models.gate.judge import judge_pixels
from models.transforms import DEFAULT_RULE
from schemas.estimates import QualityFlag
from schemas.refusals import RefusalReason
from tests.models.builders import drawn_hand


def test_a_hand_with_air_around_it_may_be_read() -> None:
    assert judge_pixels(drawn_hand(600, 500), rule=DEFAULT_RULE).refusal is None


def test_a_thumbnail_is_too_small() -> None:
    verdict = judge_pixels(drawn_hand(150, 120), rule=DEFAULT_RULE)

    assert verdict.refusal is RefusalReason.TOO_SMALL
    assert verdict.found == "120"


def test_a_strip_is_no_hand() -> None:
    assert judge_pixels(drawn_hand(900, 300), rule=DEFAULT_RULE).refusal is (
        RefusalReason.NOT_A_HAND
    )


def test_a_uniform_image_has_too_little_contrast() -> None:
    blank = np.full((400, 400), 12, dtype=np.float32)

    assert judge_pixels(blank, rule=DEFAULT_RULE).refusal is RefusalReason.POOR_CONTRAST


def test_an_image_with_one_bright_dot_has_too_little_contrast() -> None:
    dot = np.zeros((400, 400), dtype=np.float32)
    dot[200:203, 200:203] = 4095

    assert judge_pixels(dot, rule=DEFAULT_RULE).refusal is RefusalReason.POOR_CONTRAST


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_unreadable(value: float) -> None:
    hand = drawn_hand(600, 500)
    hand[3, 3] = value

    assert judge_pixels(hand, rule=DEFAULT_RULE).refusal is RefusalReason.UNREADABLE_PIXELS


def test_a_hand_whose_polarity_the_header_tells_wrongly_is_no_hand() -> None:
    inverted = 255 - drawn_hand(600, 500)

    assert judge_pixels(inverted, rule=DEFAULT_RULE).refusal is RefusalReason.NOT_A_HAND


def test_low_contrast_sets_a_flag() -> None:
    hand = drawn_hand(600, 500)
    hand[5:12, 5:12] = 5000  # a marker far brighter than any bone

    verdict = judge_pixels(hand, rule=DEFAULT_RULE)

    assert verdict.refusal is None
    assert QualityFlag.LOW_CONTRAST in verdict.flags


def test_few_pixels_set_a_flag() -> None:
    assert QualityFlag.LOW_RESOLUTION in judge_pixels(drawn_hand(299, 299), rule=DEFAULT_RULE).flags
