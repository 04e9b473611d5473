from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.networks import AgeNetwork, BoneAgeNetwork, build_network
from models.phantom import draw_phantom
from models.release.load import load_release
from models.release.manifest import list_releases
from models.rescale import NeitherLineNorBendError, differences
from models.saliency import contributions, empty_exposure, integrated_gradients
from models.transforms import DEFAULT_RULE, to_model_input, to_working_image
from schemas.images import Sex
from tests.models.builders import PHANTOM_AGE, small_network

SIZE = 96
MONTHS_NOISE = 1e-3  # float32 sums of some hundred terms of up to a hundred months


def lite_network() -> BoneAgeNetwork:
    torch.manual_seed(0)
    return build_network("efficientnet_lite0", age_mean_months=120.0, age_sd_months=40.0).eval()


class Gated(AgeNetwork):
    """A head that multiplies two of its own values, as squeeze and excitation does."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(3, 3, 1)

    def features(self, image: Tensor) -> Tensor:
        return image.repeat(1, 3, 1, 1)

    def head(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        gated: Tensor = feature_map * self.gate(feature_map)
        return gated.mean(dim=(1, 2, 3)) + sex.squeeze(1)


def empty_map(network: AgeNetwork) -> Tensor:
    return empty_exposure(network, torch.full((1, 1, SIZE, SIZE), -1.0))


@pytest.mark.parametrize("make", [small_network, lite_network])
def test_the_cells_add_up_to_what_the_image_says_beyond_an_empty_exposure(
    make: Callable[[], BoneAgeNetwork],
) -> None:
    network = make()
    sex, empty = torch.tensor([[1.0], [0.0], [1.0]]), empty_map(network)
    feature_map = network.features(torch.rand(3, 1, SIZE, SIZE)).detach()

    cells = differences(network, feature_map, sex, empty=empty)

    beyond = network.head(feature_map, sex) - network.head(empty.expand_as(feature_map), sex)
    assert torch.allclose(cells.sum(dim=(1, 2)), beyond, atol=MONTHS_NOISE)


def test_an_image_has_the_same_cells_alone_as_in_a_batch_of_both_sexes() -> None:
    network = lite_network()
    sex, empty = torch.tensor([[1.0], [0.0]]), empty_map(network)
    feature_map = network.features(torch.rand(2, 1, SIZE, SIZE)).detach()

    together = differences(network, feature_map, sex, empty=empty)
    alone = differences(network, feature_map[1:], sex[1:], empty=empty)

    assert torch.allclose(together[1:], alone, atol=MONTHS_NOISE)


def test_each_image_can_be_compared_with_an_empty_exposure_of_its_own() -> None:
    network = lite_network()
    feature_map = network.features(torch.rand(2, 1, SIZE, SIZE)).detach()
    sex, empty = torch.ones(2, 1), feature_map.flip(0)

    cells = differences(network, feature_map, sex, empty=empty)

    beyond = network.head(feature_map, sex) - network.head(empty, sex)
    assert torch.allclose(cells.sum(dim=(1, 2)), beyond, atol=MONTHS_NOISE)


def test_the_weights_may_learn_afterwards_as_before() -> None:
    network = lite_network()
    feature_map = network.features(torch.rand(1, 1, SIZE, SIZE)).detach()

    differences(network, feature_map, torch.ones(1, 1), empty=empty_map(network))

    assert all(one.grad is None for one in network.parameters())


def test_a_product_of_two_values_is_refused_and_explained_by_integrated_gradients() -> None:
    network = Gated()
    feature_map = network.features(torch.rand(1, 1, SIZE, SIZE))
    sex, empty = torch.ones(1, 1), empty_map(network)

    with pytest.raises(NeitherLineNorBendError):
        differences(network, feature_map, sex, empty=empty)

    estimate = network.head(feature_map, sex).detach()
    parts = contributions(network, feature_map, sex, empty=empty, estimate=estimate)
    assert torch.equal(parts.months, integrated_gradients(network, feature_map, sex, empty=empty))


def test_the_rule_agrees_with_integrated_gradients_about_where_the_months_are() -> None:
    (member, *_), rule = load_release(list_releases()[-1]).members, DEFAULT_RULE
    network, size = member.network, member.entry.input_size
    drawn = draw_phantom(age_months=PHANTOM_AGE, sex=Sex.FEMALE)
    view = to_model_input(to_working_image(drawn, rule=rule), size=size, rule=rule)[None]
    sex, empty = torch.zeros(1, 1), empty_exposure(network, torch.full_like(view, -1.0))
    with torch.no_grad():
        feature_map = network.features(view)

    ours = differences(network, feature_map, sex, empty=empty).flatten()
    theirs = integrated_gradients(network, feature_map, sex, empty=empty, steps=16).flatten()

    alike = torch.corrcoef(torch.stack([ours, theirs]))[0, 1]
    assert float(alike) > 0.9  # real hands: 0.95 to 1.00 (models/EXPERIMENTS.md)
