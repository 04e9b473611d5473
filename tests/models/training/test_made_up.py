"""Pictures made up for the gate: of any aspect, and only spoilt as far as they should be."""

import cv2
import numpy as np
import pytest

from models.evaluation.gate import SPOILT
from models.training.gate import covers, detector, made_up
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
        spoilt = make(hand, hand.copy, np.random.default_rng(seed))
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

    first, second = (covers.with_implants(hand, np.random.default_rng(9)) for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_a_field_above_the_wrist_keeps_nothing_below_it() -> None:
    hand = unit_hand(200, 200)

    for seed in range(6):
        cut = made_up.above_the_wrist(hand, 0.7, np.random.default_rng(seed))
        assert 0.5 * 200 <= cut.shape[0] <= 0.7 * 200
        np.testing.assert_array_equal(cut[0], hand[0])


def test_a_short_forearm_leaves_the_wrist_in_the_field() -> None:
    hand = unit_hand(200, 200)

    for seed in range(6):
        whole = made_up.with_short_forearm(hand, 0.7, np.random.default_rng(seed))
        assert 0.8 * 200 <= whole.shape[0] <= 200


def test_a_hand_from_its_side_is_narrow() -> None:
    hand = unit_hand(240, 200)

    from_front = made_up.find_extent(hand)
    from_side = made_up.find_extent(made_up.side_on(hand, np.random.default_rng(2)))

    width = from_front.right - from_front.left
    assert from_side.right - from_side.left < 0.6 * width


def test_a_cast_brightens_the_forearm_and_leaves_fingertips_and_air_alone() -> None:
    hand = unit_hand(240, 200)

    covered = covers.in_a_cast(hand, np.random.default_rng(4))

    assert covered[180:210, 60:140].mean() > hand[180:210, 60:140].mean() + 0.05
    np.testing.assert_allclose(covered[:60], hand[:60], atol=0.02)
    np.testing.assert_allclose(covered[:, :10], hand[:, :10], atol=0.02)


def test_metal_lies_on_the_hand_and_is_brighter_than_bone() -> None:
    hand = unit_hand(240, 200)

    for seed in range(6):
        metal = covers.with_implants(hand, np.random.default_rng(seed)) > 1.1
        assert metal.any()
        assert made_up.find_tissue(hand)[metal].any()


def test_a_tilted_field_loses_no_part_of_the_picture() -> None:
    marked = np.zeros((192, 192), dtype=np.float32)
    marked[:8, :8] = marked[-8:, -8:] = marked[:8, -8:] = marked[-8:, :8] = 5.0

    for seed in range(6):
        tilted = detector.in_a_tilted_field(marked, np.random.default_rng(seed))
        bright = (tilted > 1.2).astype(np.uint8)
        assert cv2.connectedComponents(bright)[0] - 1 == 4
