"""Pictures made up for the gate: of any aspect, and only spoilt as far as they should be."""

import numpy as np
import pytest

from models.evaluation.gate import SPOILT
from models.training.gate import made_up
from tests.models.builders import drawn_hand


def unit_hand(rows: int, columns: int) -> made_up.Picture:
    hand = drawn_hand(rows, columns)
    return np.asarray(hand / hand.max(), dtype=np.float32)


@pytest.mark.parametrize("shape", [(192, 192), (300, 200), (200, 320)])
@pytest.mark.parametrize("name", list(SPOILT))
def test_a_hand_of_any_aspect_can_be_spoilt(name: str, shape: tuple[int, int]) -> None:
    make, _reason = SPOILT[name]
    hand = unit_hand(*shape)

    for seed in range(6):
        spoilt = make(hand, hand, np.random.default_rng(seed))
        assert spoilt.ndim == 2
        assert min(spoilt.shape) >= 10
        assert np.isfinite(spoilt).all()


def test_the_box_round_a_hand_holds_palm_and_fingers() -> None:
    extent = made_up.find_extent(unit_hand(240, 200))

    assert extent.top == pytest.approx(30, abs=6)  # the drawn fingers begin at an eighth
    assert extent.bottom == pytest.approx(216, abs=6)
    assert extent.left == pytest.approx(50, abs=6)


def test_a_cut_takes_the_tips_and_leaves_the_wrist() -> None:
    hand = unit_hand(240, 200)

    cut = made_up.without_fingertips(hand, np.random.default_rng(1))

    assert cut.shape[0] < 240 - 30
    np.testing.assert_array_equal(cut[-1], hand[-1])


def test_one_seed_makes_one_picture() -> None:
    hand = unit_hand(192, 192)

    first, second = (made_up.with_implants(hand, np.random.default_rng(9)) for _ in range(2))

    np.testing.assert_array_equal(first, second)
