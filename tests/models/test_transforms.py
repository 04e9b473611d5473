import numpy as np
import pytest

from models.transforms import (
    DEFAULT_RULE,
    FlatImageError,
    find_exposed_area,
    squash,
    to_model_input,
    to_unit_range,
    to_working_image,
)
from schemas.errors import UnsuitableImageError
from tests.models.builders import drawn_hand

FLOAT_NOISE = 1e-6  # float32 keeps seven digits of a value between 0 and 1


def test_an_inverted_image_gives_the_inverted_working_image() -> None:
    hand = drawn_hand()

    upright = to_working_image(hand, rule=DEFAULT_RULE)
    inverted = to_working_image(4095 - hand, rule=DEFAULT_RULE)

    assert np.abs(inverted - (1 - upright)).max() < 1e-4  # noise of squashing values near 4095


def test_gain_and_offset_of_the_detector_do_not_change_the_working_image() -> None:
    hand = drawn_hand()

    plain = to_working_image(hand, rule=DEFAULT_RULE)
    changed = to_working_image(hand * 7 + 100, rule=DEFAULT_RULE)

    assert np.abs(plain - changed).max() < 1e-5


def test_squashing_a_square_of_the_working_size_changes_nothing() -> None:
    image = drawn_hand(299, 299)

    assert (squash(image, size=299) == image).all()


def test_squashing_keeps_the_mean_of_the_image() -> None:
    image = drawn_hand(897, 598)

    assert squash(image, size=299).mean() == pytest.approx(image.mean(), rel=1e-5)


@pytest.mark.parametrize("border", [0.0, 90.0, 255.0])
def test_a_flat_border_is_not_exposed_area_whatever_its_grey(border: float) -> None:
    image = np.full((120, 100), border, dtype=np.float32)
    image[10:100, 20:90] = drawn_hand(90, 70)

    inside = find_exposed_area(image, tolerance=0.005)

    rows, columns = np.where(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 99, 20, 89)


def test_an_image_without_border_is_exposed_everywhere() -> None:
    assert find_exposed_area(drawn_hand(), tolerance=0.005).all()


def test_a_burned_in_white_border_does_not_change_the_scale_of_the_hand() -> None:
    image = drawn_hand(299, 299)
    framed = image.copy()
    framed[:, -25:] = 4000
    rule = DEFAULT_RULE.model_copy(update={"border_tolerance": 0.0005})

    plain = to_working_image(image, rule=rule)
    bordered = to_working_image(framed, rule=rule)

    assert np.abs(plain - bordered)[:, :-25].max() < 0.02


def test_one_bright_marker_does_not_change_the_scale_of_the_hand() -> None:
    image = drawn_hand(299, 299)
    marked = image.copy()
    marked[5:15, 5:25] = 4000  # 0.2 % of the area, far below the 2 % that are clipped

    unit = to_working_image(image, rule=DEFAULT_RULE)
    with_marker = to_working_image(
        marked, rule=DEFAULT_RULE.model_copy(update={"border_tolerance": 0.0})
    )

    assert np.abs(unit - with_marker)[20:, 30:].max() < 0.02


def test_a_uniform_image_is_refused_with_its_contrast() -> None:
    image = np.full((299, 299), 7, dtype=np.float32)

    with pytest.raises(FlatImageError, match="contrast") as refusal:
        to_working_image(image, rule=DEFAULT_RULE)

    assert isinstance(refusal.value, UnsuitableImageError)
    assert refusal.value.code == "unsuitable.poor_contrast"


def test_the_unit_range_ends_at_nought_and_one() -> None:
    image = drawn_hand()
    inside = np.ones(image.shape, dtype=np.bool_)

    unit = to_unit_range(image, inside=inside, rule=DEFAULT_RULE)

    assert (unit.min(), unit.max()) == (0.0, 1.0)


def test_a_model_input_has_the_members_size_and_the_range_of_its_weights() -> None:
    working = to_working_image(drawn_hand(), rule=DEFAULT_RULE)

    image = to_model_input(working, size=64, rule=DEFAULT_RULE)

    assert tuple(image.shape) == (1, 64, 64)
    assert float(image.min()) >= -1 - FLOAT_NOISE
    assert float(image.max()) <= 1 + FLOAT_NOISE
