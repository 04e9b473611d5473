from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from models.foreign_preprocessing import Frame
from models.networks import BoneAgeNetwork, build_network
from models.saliency import (
    GRID,
    Contributions,
    contributions,
    empty_exposure,
    onto_source_grid,
    outline_peak,
)
from tests.models.builders import small_network

MONTHS_NOISE = 1e-3  # float32 sums of some hundred terms of up to a hundred months


SIZE = 96
WHOLE = Frame(top=0, left=0, height=400, width=200)


def lite_network() -> BoneAgeNetwork:
    """An untrained network that is cut before its last blocks, as the release's are."""
    torch.manual_seed(0)
    return build_network("efficientnet_lite0", age_mean_months=120.0, age_sd_months=40.0).eval()


def explained(
    network: BoneAgeNetwork, feature_map: Tensor, sex: Tensor, *, empty: Tensor
) -> Contributions:
    estimate = network.head(feature_map, sex).detach()
    return contributions(network, feature_map, sex, empty=empty, estimate=estimate)


def empty_map(network: BoneAgeNetwork) -> Tensor:
    return empty_exposure(network, torch.full((1, 1, SIZE, SIZE), -1.0))


@pytest.mark.parametrize("make", [small_network, lite_network])
def test_the_map_and_its_intercept_add_up_to_the_estimate(
    make: Callable[[], BoneAgeNetwork],
) -> None:
    network = make()
    image, sex = torch.rand(2, 1, SIZE, SIZE), torch.tensor([[1.0], [0.0]])
    feature_map = network.features(image)

    parts = explained(network, feature_map, sex, empty=empty_map(network))

    total = parts.months.sum(dim=(1, 2)) + parts.intercept_months
    assert torch.allclose(total, network.head(feature_map, sex), atol=MONTHS_NOISE)


def test_the_intercept_is_what_the_network_says_to_an_empty_exposure() -> None:
    network = lite_network()
    empty, sex = empty_map(network), torch.ones(1, 1)
    feature_map = network.features(torch.rand(1, 1, SIZE, SIZE) * 2 - 1)

    parts = explained(network, feature_map, sex, empty=empty)

    error = float((parts.intercept_months - network.head(empty, sex)).abs().detach())
    assert error < 0.1 * float(parts.months.abs().sum())  # eight points on a line that bends


def test_an_empty_exposure_has_no_contribution_anywhere() -> None:
    network = lite_network()
    empty = empty_map(network)

    parts = explained(network, empty, torch.ones(1, 1), empty=empty)

    assert float(parts.months.abs().max()) == pytest.approx(0, abs=MONTHS_NOISE)


def test_an_image_is_cut_where_a_cell_stands_for_sixteen_pixels() -> None:
    network = lite_network()
    image, sex = torch.rand(1, 1, SIZE, SIZE), torch.ones(1, 1)

    feature_map = network.features(image)

    assert feature_map.shape[2:] == (SIZE // 16, SIZE // 16)
    whole = network.backbone(image).mean(dim=(2, 3))
    joined = torch.cat([whole, network.sex_branch(sex)], dim=1)
    months = network.regressor(joined) * network.age_sd_months + network.age_mean_months
    assert torch.allclose(network(image, sex), months.squeeze(1), atol=MONTHS_NOISE)


def test_what_makes_a_hand_younger_stays_negative() -> None:
    network = lite_network()
    empty = empty_map(network)
    feature_map = network.features(torch.rand(1, 1, SIZE, SIZE))

    parts = explained(network, feature_map, torch.ones(1, 1), empty=empty)
    opposite = explained(network, 2 * empty - feature_map, torch.ones(1, 1), empty=empty)

    assert float(torch.cat([parts.months, opposite.months]).min()) < 0


def test_maps_of_members_of_any_size_come_to_one_grid_with_their_months() -> None:
    random = np.random.default_rng(0)
    beyond = Frame(top=-30, left=20, height=500, width=260)
    for side in (4, 6, 12, 20):
        cells = random.normal(size=(side, side)).astype(np.float32)

        for frame in (WHOLE, beyond):
            fields = onto_source_grid(cells, frame, input_size=16 * side, rows=400, columns=200)

            assert fields.shape == (GRID, GRID)
            assert fields.sum(dtype=np.float64) == pytest.approx(cells.sum(), abs=1e-4)


def test_a_cell_lies_on_the_pixel_that_its_convolutions_are_centred_on() -> None:
    cells = np.zeros((12, 12), dtype=np.float32)
    cells[9, 3] = 10.0

    fields = onto_source_grid(cells, WHOLE, input_size=192, rows=400, columns=200)

    where = (np.arange(GRID) + 0.5) / GRID * 192
    assert (fields.sum(axis=1) @ where) / 10 == pytest.approx(9 * 16 + 0.5, abs=0.5)
    assert (fields.sum(axis=0) @ where) / 10 == pytest.approx(3 * 16 + 0.5, abs=0.5)


def test_a_member_that_saw_a_part_of_the_image_speaks_of_that_part() -> None:
    cells = np.ones((4, 4), dtype=np.float32)
    lower_right = Frame(top=200, left=100, height=200, width=100)

    fields = onto_source_grid(cells, lower_right, input_size=64, rows=400, columns=200)

    assert fields[GRID * 3 // 8 :, GRID * 3 // 8 :].sum() == pytest.approx(cells.sum(), abs=1e-4)


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
