import numpy as np
import pytest
import torch

from models.saliency import GRID, contributions, onto_common_grid, outline_peak
from tests.models.builders import small_network

MONTHS_NOISE = 1e-3  # float32 sums of some hundred terms of up to a hundred months


def test_the_map_and_its_intercept_add_up_to_the_estimate() -> None:
    network = small_network()
    image, sex = torch.rand(2, 1, 96, 96), torch.tensor([[1.0], [0.0]])
    feature_map = network.features(image)

    parts = contributions(network, feature_map, sex)

    total = parts.months.sum(dim=(1, 2)) + parts.intercept_months
    assert torch.allclose(total, network.head(feature_map, sex), atol=MONTHS_NOISE)


def test_the_intercept_is_what_the_head_says_without_features_along_its_slope() -> None:
    """The head is linear around the image: half the features move the estimate half the way."""
    network = small_network()
    feature_map, sex = network.features(torch.rand(1, 1, 96, 96)), torch.ones(1, 1)
    parts = contributions(network, feature_map, sex)

    nearly = network.head(feature_map * 0.9999, sex)

    expected = parts.intercept_months + 0.9999 * parts.months.sum()
    assert torch.allclose(nearly, expected, atol=MONTHS_NOISE)


def test_what_makes_a_hand_younger_stays_negative() -> None:
    network = small_network()

    parts = contributions(network, network.features(torch.rand(1, 1, 96, 96)), torch.ones(1, 1))
    flipped = contributions(network, -network.features(torch.rand(1, 1, 96, 96)), torch.ones(1, 1))

    assert float(torch.cat([parts.months, flipped.months]).min()) < 0


def test_maps_of_members_of_any_size_come_to_one_grid_with_their_months() -> None:
    random = np.random.default_rng(0)
    for side in (4, 6, 8, 16):
        cells = random.normal(size=(side, side)).astype(np.float32)

        fields = onto_common_grid(cells)

        assert fields.shape == (GRID, GRID)
        assert fields.sum(dtype=np.float64) == pytest.approx(cells.sum(), abs=1e-4)


def test_a_field_lies_where_its_part_of_the_squashed_image_came_from() -> None:
    cells = np.zeros((4, 4), dtype=np.float32)
    cells[3, 0] = 10.0

    fields = onto_common_grid(cells)

    row, column = np.unravel_index(int(fields.argmax()), fields.shape)
    assert row >= GRID * 3 / 4
    assert column < GRID / 4


def test_the_outline_of_a_peak_is_closed_and_inside_the_image() -> None:
    cells = np.zeros((6, 6), dtype=np.float32)
    cells[0, 5] = -8.0

    outline = outline_peak(cells, rows=600, columns=300)

    assert outline[0] == outline[-1]
    assert all(0 <= column <= 300 and 0 <= row <= 600 for column, row in outline)
    assert np.mean([column for column, _ in outline]) > 200
    assert np.mean([row for _, row in outline]) < 200


def test_a_map_without_contribution_has_no_outline() -> None:
    assert outline_peak(np.zeros((6, 6), dtype=np.float32), rows=600, columns=300) == ()
