import cv2
import numpy as np
import pytest

from models.evaluation.variants import rotated
from models.transforms import DEFAULT_RULE, FlatImageError, to_working_image
from models.upright import lean_of, turn_upright
from tests.models.builders import drawn_hand


def leaning_hand(*, degrees: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return rotated(drawn_hand(800, 600).astype(np.float32), degrees=degrees)


def unlike(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean difference of two pictures at one size, share of the range."""
    shown = [cv2.resize(one, (128, 128), interpolation=cv2.INTER_AREA) for one in (first, second)]
    return float(np.abs(shown[0] - shown[1]).mean() / np.ptp(first))


@pytest.mark.parametrize("degrees", [-30.0, -20.0, 10.0, 20.0, 35.0])
def test_the_lean_follows_a_turn(degrees: float) -> None:
    before = lean_of(leaning_hand())

    assert lean_of(leaning_hand(degrees=degrees)) - before == pytest.approx(degrees, abs=2.0)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_no_tone_curve_changes_the_lean(gamma: float) -> None:
    hand = leaning_hand(degrees=12.0)
    unit = (hand - hand.min()) / np.ptp(hand)

    assert lean_of(unit ** np.float32(gamma)) == pytest.approx(lean_of(unit), abs=1.0)


def test_a_leaning_hand_looks_like_an_upright_one() -> None:
    hand, leaning = leaning_hand(), leaning_hand(degrees=20.0)

    upright = turn_upright(hand, rule=DEFAULT_RULE).pixels
    turned = turn_upright(leaning, rule=DEFAULT_RULE).pixels

    assert unlike(upright, turned) < 0.04
    assert unlike(hand, leaning) > 0.08


@pytest.mark.parametrize("level", [0.0, 255.0, -2000.0])
def test_a_broad_border_is_cut_off(level: float) -> None:
    hand = leaning_hand()
    bordered = np.pad(hand, 120, constant_values=level)

    upright = turn_upright(bordered, rule=DEFAULT_RULE).pixels

    assert unlike(turn_upright(hand, rule=DEFAULT_RULE).pixels, upright) < 0.05
    assert unlike(hand, np.clip(bordered, 0, 255)) > 0.1
    assert upright.min() >= hand.min() - 1
    assert upright.max() <= hand.max() + 1


def test_a_mirror_image_is_turned_like_the_image() -> None:
    hand = leaning_hand(degrees=15.0)

    upright = turn_upright(hand, rule=DEFAULT_RULE).pixels
    mirrored = turn_upright(np.ascontiguousarray(hand[:, ::-1]), rule=DEFAULT_RULE).pixels

    assert unlike(upright, mirrored[:, ::-1]) < 0.005


def test_a_map_finds_back_to_where_the_hand_lay() -> None:
    hand = leaning_hand(degrees=20.0)
    rows, columns = hand.shape
    spot = np.zeros_like(hand)
    spot[round(0.4 * rows) : round(0.4 * rows) + 40, round(0.55 * columns) :][:, :40] = 1.0
    picture = turn_upright(hand, rule=DEFAULT_RULE)
    seen = cv2.warpAffine(
        spot, picture.matrix[:2], (picture.pixels.shape[1], picture.pixels.shape[0])
    )
    fields = cv2.resize(seen, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    fields[5, 5] = -0.5

    back = picture.fields_of_source(fields)

    row, column = np.unravel_index(int(back.argmax()), back.shape)
    assert (row + 0.5) / 64 == pytest.approx(0.4 + 20 / rows, abs=0.03)
    assert (column + 0.5) / 64 == pytest.approx(0.55 + 20 / columns, abs=0.03)
    assert back.sum() == pytest.approx(fields.sum(), abs=1e-3)


def test_what_has_no_upright_axis_is_left_as_it_lies() -> None:
    lying = np.ascontiguousarray(np.rot90(leaning_hand()))

    assert turn_upright(lying, rule=DEFAULT_RULE).pixels.shape[0] < lying.shape[1]
    assert abs(lean_of(turn_upright(lying, rule=DEFAULT_RULE).pixels)) > 45


def test_what_is_almost_uniform_is_said_to_be_flat_and_nothing_else_goes_wrong() -> None:
    rule = DEFAULT_RULE.model_copy(update={"upright": True})
    flat = np.zeros((400, 300), dtype=np.float32)

    with pytest.raises(FlatImageError):
        to_working_image(turn_upright(flat, rule=rule).pixels, rule=rule)
