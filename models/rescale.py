"""From a number back to the cells of a feature map, in one step: the rescale rule.

Compared are an image and an empty exposure (Shrikumar, Greenside and Kundaje, arXiv 1704.02685, the
rule of section 3.5.1). Backwards through a line goes its factor, backwards through a bend (ReLU,
swish …) the slope of the straight line between what it said to the empty exposure and to the image.
So the parts add up to the difference of the two answers, to the last digit and with one backward
pass, in networks of lines and bends. A product of two values is neither: such networks are refused.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from models.networks.interface import AgeNetwork

#: a bend's argument that differs by less has its slope here instead of between the two
NO_DIFFERENCE = 1e-4

_LINES = frozenset(
    {
        *(torch.conv2d, functional.linear, functional.batch_norm, functional.dropout),
        *(torch.add, Tensor.add, Tensor.add_, torch.cat, torch.flatten, Tensor.flatten),
        *(Tensor.mean, functional.avg_pool2d, functional.adaptive_avg_pool2d),
        *(Tensor.float, Tensor.contiguous, Tensor.squeeze, Tensor.view, Tensor.reshape),
    }
)
_BENDS = frozenset(
    {
        *(functional.relu, functional.relu6, functional.hardtanh, functional.hardswish),
        *(functional.silu, functional.mish, functional.gelu),
    }
)


class NeitherLineNorBendError(Exception):
    """A network does something that the rule has no exact answer to."""


def differences(network: AgeNetwork, feature_map: Tensor, sex: Tensor, *, empty: Tensor) -> Tensor:
    """Return the months of every cell, ``(batch, rows, columns)``; their sum is the difference.

    Args:
        network: the member, in evaluation mode.
        feature_map: ``(batch, channels, rows, columns)`` from ``network.features``.
        sex: ``(batch, 1)`` float32, 1.0 male, 0.0 female.
        empty: the same for one empty exposure, or for one each.

    Raises:
        NeitherLineNorBendError: the network's head is none of lines and bends.
    """
    count, feature_map = len(feature_map), feature_map.detach().float()
    if len(empty) == 1:  # compared with it are girls and boys, once each
        sexes, of = torch.unique(sex, dim=0, return_inverse=True)
        empty = empty.expand(len(sexes), -1, -1, -1)
    else:
        sexes, of = sex, torch.arange(count, device=sex.device)
    with torch.enable_grad():
        both = torch.cat([feature_map, empty]).requires_grad_()
        with _Secants(of):
            months = network.head(both, torch.cat([sex, sexes]))
        (slopes,) = torch.autograd.grad(months[:count].sum(), both)
    return ((feature_map - empty[of]) * slopes[:count]).sum(dim=1)


class _Secants(TorchFunctionMode):
    """Lets lines pass, and gives bends another way back."""

    def __init__(self, of: Tensor) -> None:
        super().__init__()
        self._of = of

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        given = kwargs or {}
        if func in _BENDS:
            bend: Bend = lambda values: func(values.clone(), *args[1:], **given)  # noqa: E731 - in place
            return _Bend.apply(bend, args[0], self._of)
        result = func(*args, **given)
        is_scaled = func is Tensor.mul and not isinstance(args[1], Tensor)
        if isinstance(result, Tensor) and not (func in _LINES or is_scaled):
            raise NeitherLineNorBendError(getattr(func, "__name__", str(func)))
        return result


Bend = Callable[[Tensor], Tensor]


class _Bend(torch.autograd.Function):
    """A bend whose slope is that between a row and the row it is compared with."""

    @staticmethod
    def forward(ctx: Any, bend: Bend, values: Tensor, of: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        bent = bend(values)
        ctx.bend = bend
        ctx.save_for_backward(values, bent, of)
        return bent

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[None, Tensor, None]:  # noqa: ANN401 - as above
        values, bent, of = ctx.saved_tensors
        count = len(of)
        start, end = values[count:][of], bent[count:][of]
        run = values[:count] - start
        is_level = run.abs() < NO_DIFFERENCE
        near = ctx.bend(start + NO_DIFFERENCE)
        rise = torch.where(is_level, near, bent[:count]) - end
        secant = rise / torch.where(is_level, NO_DIFFERENCE, run)
        back = torch.zeros_like(values)
        back[:count] = slopes[0][:count] * secant
        return None, back, None
