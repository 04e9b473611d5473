import numpy as np
import pytest

from schemas.estimates import QualityFlag
from schemas.refusals import RefusalReason
from tests.models.builders import drawn_hand, judged


def test_a_hand_with_air_around_it_may_be_read() -> None:
    assert judged(drawn_hand(600, 500)).refusal is None


def test_a_thumbnail_is_too_small() -> None:
    verdict = judged(drawn_hand(150, 120))

    assert verdict.refusal is RefusalReason.TOO_SMALL
    assert verdict.found == "120"


def test_a_strip_is_no_hand() -> None:
    assert judged(drawn_hand(900, 300)).refusal is (RefusalReason.NOT_A_HAND)


def test_a_uniform_image_has_too_little_contrast() -> None:
    blank = np.full((400, 400), 12, dtype=np.float32)

    assert judged(blank).refusal is RefusalReason.POOR_CONTRAST


def test_an_image_with_one_bright_dot_has_too_little_contrast() -> None:
    dot = np.zeros((400, 400), dtype=np.float32)
    dot[200:203, 200:203] = 4095

    assert judged(dot).refusal is RefusalReason.POOR_CONTRAST


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_unreadable(value: float) -> None:
    hand = drawn_hand(600, 500)
    hand[3, 3] = value

    assert judged(hand).refusal is RefusalReason.UNREADABLE_PIXELS


def test_a_hand_whose_polarity_the_header_tells_wrongly_is_no_hand() -> None:
    inverted = 255 - drawn_hand(600, 500)

    assert judged(inverted).refusal is RefusalReason.NOT_A_HAND


def test_low_contrast_sets_a_flag() -> None:
    hand = drawn_hand(600, 500)
    hand[5:12, 5:12] = 5000  # a marker far brighter than any bone

    verdict = judged(hand)

    assert verdict.refusal is None
    assert QualityFlag.LOW_CONTRAST in verdict.flags


def test_few_pixels_set_a_flag() -> None:
    assert QualityFlag.LOW_RESOLUTION in judged(drawn_hand(299, 299)).flags
