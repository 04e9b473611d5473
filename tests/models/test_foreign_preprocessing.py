import cv2
import numpy as np
import pytest

from models.foreign_preprocessing import (
    crop_to_hand,
    grey_levels,
    match_histogram,
    prepare,
    subtract,
)
from models.hand_mask import NoHandFoundError, choose_hand
from models.transforms import FlatImageError
from schemas.releases import Framing, MemberPreprocessing, Scaling, Subtraction
from tests.models.builders import drawn_hand


def rule(**changes: object) -> MemberPreprocessing:
    values: dict[str, object] = {"framing": Framing.PAD, "scaling": Scaling.GREY_LEVELS, **changes}
    return MemberPreprocessing.model_validate(values)


def test_an_8_bit_picture_is_taken_as_it_is() -> None:
    pixels = np.array([[3, 7], [50, 9]], dtype=np.float32)

    assert grey_levels(pixels).tolist() == [[3, 7], [50, 9]]


def test_any_other_range_is_spread_over_the_grey_levels() -> None:
    pixels = np.array([[-1000, 0], [500, 1000]], dtype=np.float32)

    assert grey_levels(pixels).tolist() == [[0, 128], [191, 255]]


def test_a_picture_of_one_value_is_refused() -> None:
    with pytest.raises(FlatImageError):
        grey_levels(np.full((4, 4), 7, dtype=np.float32))


def test_an_equalised_picture_uses_all_grey_levels_alike() -> None:
    grey = np.tile(np.arange(64, dtype=np.uint8), (64, 1))

    values, _ = prepare(grey, hand=None, rule=rule(equalised=True), size=64)

    assert (values.min(), values.max()) == (0, 255)
    assert len(np.unique(values)) == 64
    assert np.ptp(np.diff(values[0])) <= 1


def test_the_mean_is_taken_off_and_nothing_falls_below_black() -> None:
    grey = np.array([[0, 100], [200, 100]], dtype=np.uint8)

    assert subtract(grey, Subtraction.MEAN).tolist() == [[0, 0], [100, 0]]


def test_a_level_that_ends_in_a_half_keeps_grey_levels_apart_as_opencv_does() -> None:
    grey = np.array([[9, 10, 11, 12]], dtype=np.uint8)  # their mean is 10.5

    less = subtract(grey, Subtraction.MEAN)

    np.testing.assert_array_equal(less, cv2.subtract(grey, np.array([10.5])))
    assert less.tolist() == [[0, 0, 1, 2]]


def test_local_equalisation_works_on_eight_by_eight_tiles_with_its_clip() -> None:
    grey = np.clip(drawn_hand(128, 128), 0, 255).astype(np.uint8)

    values, _ = prepare(grey, hand=None, rule=rule(clahe_clip=15.0), size=128)

    wanted = cv2.createCLAHE(clipLimit=15.0, tileGridSize=(8, 8)).apply(grey)
    np.testing.assert_array_equal(values, wanted)


def test_the_percentile_is_that_of_the_pixels_above_zero() -> None:
    grey = np.array([[0, 0, 0, 10], [20, 20, 20, 20]], dtype=np.uint8)

    less = subtract(grey, Subtraction.PERCENTILE)

    assert less.tolist() == [[0, 0, 0, 0], [10, 10, 10, 10]]


def test_the_hand_is_in_the_middle_of_its_square_and_black_lies_beyond_the_picture() -> None:
    grey = np.full((6, 6), 9, dtype=np.uint8)
    hand = np.zeros((6, 6), dtype=np.bool_)
    hand[0:4, 4:6] = True

    cut = crop_to_hand(grey, hand, factor=1.5)

    assert cut.grey.shape == (6, 6)
    assert (cut.frame.top, cut.frame.left) == (-1, 2)
    assert not cut.grey[0].any()
    assert not cut.grey[:, 4:].any()
    assert (cut.grey[1:, :4] == 9).all()


def test_a_picture_matched_to_its_own_histogram_stays_as_it_is() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    counts = tuple(int(one) for one in np.bincount(grey.ravel(), minlength=256))

    assert (match_histogram(grey, reference=counts) == grey).all()


def test_the_central_square_loses_the_ends_of_the_longer_side() -> None:
    grey = np.zeros((8, 4), dtype=np.uint8)
    grey[2:6] = 200
    grey[3, 1] = 100

    values, frame = prepare(grey, hand=None, rule=rule(framing=Framing.CENTRE), size=4)

    assert values.min() == 100
    assert (frame.top, frame.left, frame.height, frame.width) == (2, 0, 4, 4)


@pytest.mark.parametrize("framing", [Framing.PAD, Framing.FIT])
def test_a_padded_picture_shows_more_than_the_image(framing: Framing) -> None:
    grey = np.full((8, 4), 200, dtype=np.uint8)

    values, frame = prepare(grey, hand=None, rule=rule(framing=framing), size=16)

    assert not values[:, 0].any()
    assert (values[:, 8] == 200).all()
    assert (frame.left, frame.width, frame.height) == (-2, 8, 8)


def test_a_z_score_has_mean_zero_and_deviation_one() -> None:
    grey = np.random.default_rng(1).integers(0, 255, size=(40, 30)).astype(np.uint8)

    values, _ = prepare(grey, hand=None, rule=rule(scaling=Scaling.Z_SCORE), size=24)

    assert values.mean() == pytest.approx(0, abs=1e-5)
    assert values.std() == pytest.approx(1, abs=1e-5)


def test_the_largest_region_with_a_sure_pixel_is_the_hand_and_has_no_holes() -> None:
    probability = np.zeros((60, 60), dtype=np.float32)
    cv2.rectangle(probability, (2, 2), (40, 40), 0.6, cv2.FILLED)
    cv2.rectangle(probability, (45, 45), (57, 57), 0.6, cv2.FILLED)
    probability[50, 50], probability[52, 52] = 0.995, 0.0

    hand = choose_hand(probability)

    assert hand[52, 52]
    assert not hand[10, 10]


def test_an_image_without_a_hand_is_refused_and_not_read_whole() -> None:
    with pytest.raises(NoHandFoundError, match="not_a_hand"):
        choose_hand(np.full((20, 20), 0.2, dtype=np.float32))
