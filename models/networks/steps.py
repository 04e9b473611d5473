"""A backbone as a row of steps, so that it can be cut where a cell still stands for its place.

What the steps are is not listed by hand: one small picture goes through, and the children that
timm's ``forward_features`` calls are written down in their order. Where to cut is what timm's
``feature_info`` says. The cut is used only if both halves, one after the other, give to the last
bit what the whole gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: side of the picture that goes through once; no backbone of timm asks for more than 96
_TRIAL_SIZE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CutBackbone:
    """The names of a backbone's modules before and after the cut, in their order."""

    before: tuple[str, ...]  #: empty: no row of steps; only the whole can be asked
    after: tuple[str, ...]  #: empty: the cut is at the end
    channels: int  #: of the last feature map


def run_steps(backbone: nn.Module, names: Sequence[str], values: Tensor) -> Tensor:
    """Return what the named modules, one after the other, make of a map or a picture."""
    for name in names:
        values = backbone.get_submodule(name)(values)
    return values


def whole_map(backbone: nn.Module, image: Tensor) -> Tensor:
    """Return the last feature map, ``(batch, channels, rows, columns)``, of any backbone."""
    timm_model: Any = backbone
    (last,) = timm_model.forward_intermediates(
        image, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
    )
    feature_map: Tensor = last
    return feature_map


def cut_backbone(backbone: nn.Module, *, channels_in: int, reduction: int) -> CutBackbone:
    """Return where a backbone is cut, and drop its parts that make no feature map.

    Args:
        backbone: a timm network without classifier.
        channels_in: channels of the picture.
        reduction: the last map is taken that has at least one cell for so many input pixels.
    """
    was_training = backbone.training
    backbone.eval()
    trial = torch.linspace(-1, 1, channels_in * _TRIAL_SIZE**2)
    picture = trial.view(1, channels_in, _TRIAL_SIZE, _TRIAL_SIZE)
    with torch.no_grad():
        steps, feature_map = _trace(backbone, picture)
        if feature_map is None:
            found = _uncut(backbone, picture)
        else:
            _drop_others(backbone, steps)
            found = _checked_cut(backbone, steps, picture, feature_map, reduction=reduction)
    backbone.train(was_training)
    return found


def steps_up_to(backbone: nn.Module, names: Sequence[str], *, module: str) -> tuple[str, ...]:
    """Return the steps up to and including a module that lies in one of them.

    Raises:
        ValueError: no step is, or holds, a module of that name.
    """
    top, _, inner = module.partition(".")
    if top not in names:
        raise ValueError(module)
    done = tuple(names[: list(names).index(top)])
    if not inner:
        return (*done, top)
    parent = backbone.get_submodule(top)
    children = [name for name, _ in parent.named_children()]
    return (*done, *(f"{top}.{one}" for one in steps_up_to(parent, children, module=inner)))


def executed_steps(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of all children that hold something, in their order."""
    return tuple(
        name for name, child in backbone.named_children() if not isinstance(child, nn.Identity)
    )


def _trace(backbone: nn.Module, picture: Tensor) -> tuple[tuple[str, ...], Tensor | None]:
    """Return the children that were called, and the map; no map if it is not one of channels."""
    called: list[str] = []
    hooks = [
        child.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, child in backbone.named_children()
    ]
    timm_model: Any = backbone
    feature_map: Tensor = timm_model.forward_features(picture)
    for hook in hooks:
        hook.remove()
    is_map = feature_map.shape[1:2] == (timm_model.num_features,) and torch.equal(
        run_steps(backbone, called, picture), feature_map
    )
    return tuple(called), feature_map if is_map else None


def _uncut(backbone: nn.Module, picture: Tensor) -> CutBackbone:
    channels = whole_map(backbone, picture).shape[1]
    return CutBackbone(before=(), after=(), channels=channels)


def _drop_others(backbone: nn.Module, steps: Sequence[str]) -> None:
    """Replace what comes after the feature map: it would be kept and trained for nothing."""
    for name, _child in list(backbone.named_children()):
        if name not in steps:
            setattr(backbone, name, nn.Identity())


def _checked_cut(
    backbone: nn.Module,
    steps: Sequence[str],
    picture: Tensor,
    feature_map: Tensor,
    *,
    reduction: int,
) -> CutBackbone:
    timm_model: Any = backbone
    stages = getattr(timm_model.feature_info, "info", timm_model.feature_info)
    fine = [one for one in stages if one["reduction"] <= reduction]
    channels = feature_map.shape[1]
    whole = CutBackbone(before=tuple(steps), after=(), channels=channels)
    if not fine:
        return whole
    before, after = _split(backbone, steps, module=fine[-1]["module"])
    halves = run_steps(backbone, after, run_steps(backbone, before, picture))
    if not torch.equal(halves, feature_map):
        return whole
    return CutBackbone(before=before, after=after, channels=channels)


def _split(
    backbone: nn.Module, steps: Sequence[str], *, module: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    before = steps_up_to(backbone, steps, module=module)
    path = module.split(".")
    after: list[str] = []
    for depth in range(len(path) - 1, 0, -1):  # the rest of each module that was entered
        parent = ".".join(path[:depth])
        names = [f"{parent}.{one}" for one, _ in backbone.get_submodule(parent).named_children()]
        after += [name for name in names if not _is_begun(name, before)]
    after += [name for name in steps if not _is_begun(name, before)]
    return before, tuple(after)


def _is_begun(name: str, before: Sequence[str]) -> bool:
    return any(one == name or one.startswith(f"{name}.") for one in before)
