"""What a conversion gives: a member, or the mask network, in our own names."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from models.networks.imported import build_imported
from models.release.importing.errors import MissingTensorsError
from schemas.releases import Averaging, ImportedNetwork, MaskNetwork, MemberPreprocessing

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the command was told beside the files."""

    input_size: int | None = None  #: None: as the checkpoint, or its family, says
    bias_units: str | None = None  #: "z" or "months"; None: decided by magnitude
    biases: Mapping[str, tuple[float, float]] | None = None  #: file stem: slope, intercept months
    mask_crop: float | None = 1.15  #: None: the central square, as in the published result
    has_test_views: bool = True  #: months are averaged over the views that the authors tested with
    reference_histogram: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedMember:
    """One network for the age."""

    name: str
    origin: str  #: where the weights come from, for the manifest
    architecture: str
    input_size: int
    sex_features: int
    age_mean_months: float
    age_sd_months: float
    preprocessing: MemberPreprocessing
    imported: ImportedNetwork
    tensors: Tensors
    decisions: tuple[str, ...]
    licence: str
    averaging: Averaging = Averaging.NONE
    crop_share: float = 1.0  #: side of each crop, share of the whole picture's


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedMask:
    """The network that finds the hand."""

    entry: MaskNetwork
    tensors: Tensors
    decisions: tuple[str, ...]


def safe_name(path: Path) -> str:
    """Return a name for a member, made of the file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).strip("-.") or "member"


def renamed(tensors: Tensors, rules: Iterable[tuple[str, str]]) -> Tensors:
    """Return the tensors under new names; the first pattern that fits a name is used."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    out: Tensors = {}
    for name, value in tensors.items():
        new = name
        for pattern, replacement in compiled:
            if pattern.search(name):
                new = pattern.sub(replacement, name, count=1)
                break
        out[new] = value
    return out


def fitted(network: nn.Module, tensors: Tensors, *, path: Path, layout: str) -> Tensors:
    """Return the tensors, contiguous float32, if they are exactly those of the network.

    Raises:
        MissingTensorsError: a tensor is missing, left over, or of another shape.
    """
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    misshapen = [
        name for name, shape in wanted.items() if name in tensors and tensors[name].shape != shape
    ]
    problems = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "not known": sorted(tensors.keys() - wanted.keys()),
        "of another shape": misshapen,
    }
    for problem, names in problems.items():
        if names:
            raise MissingTensorsError(
                path=path,
                layout=layout,
                problem=f"of its tensors {len(names)} are {problem}, such as {names[0]}",
            )
    return {
        name: value.float().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in tensors.items()
    }


def fitted_member(member: ConvertedMember, *, path: Path, layout: str) -> ConvertedMember:
    """Return the member with its tensors checked against the network that it names.

    Raises:
        MissingTensorsError: a tensor is missing, left over, or of another shape.
    """
    network = build_imported(
        member.architecture,
        sex_features=member.sex_features,
        age_mean_months=member.age_mean_months,
        age_sd_months=member.age_sd_months,
        shape=member.imported,
    )
    return replace(member, tensors=fitted(network, member.tensors, path=path, layout=layout))
