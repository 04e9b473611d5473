"""A network's computation written down, one step after the other, so that another engine can do it.

What is written down is what PyTorch was asked to do while one batch went through. The steps are
those of a convolutional network whose activations are bends of a straight line (ReLU, ReLU6); a
network that does anything else is not covered, and PyTorch runs it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Values = NDArray[np.float32]


class UncoveredError(Exception):
    """A network does something that no step stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution, with the batch norm behind it, if there is one."""

    source: int
    weight: Values  #: ``(outputs, inputs / groups, height, width)``
    bias: Values  #: ``(outputs,)``
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A batch norm in evaluation mode: a line for each channel."""

    source: int
    factor: Values  #: ``(channels,)``
    shift: Values  #: ``(channels,)``


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamp:
    """ReLU (``high`` infinite) or ReLU6."""

    source: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Two maps of one shape, added."""

    sources: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The mean over rows and columns: ``(batch, channels)``."""

    source: int
    cells: int  #: rows times columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The greatest value over rows and columns: ``(batch, channels)``."""

    source: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A linear layer."""

    source: int
    weight: Values  #: ``(outputs, inputs)``
    bias: Values  #: ``(outputs,)``


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Vectors beside each other, ``(batch, sum of widths)``."""

    sources: tuple[int, ...]
    widths: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Every number times ``factor`` plus ``shift``."""

    source: int
    factor: float
    shift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Squeeze:
    """``(batch, 1)`` as ``(batch,)``."""

    source: int


Step = Convolution | Norm | Clamp | Total | Mean | Peak | Dense | Join | Line | Squeeze


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """Steps in their order; a value is named by its number."""

    inputs: tuple[int, ...]
    steps: Mapping[int, Step]  #: by the number of the value that the step makes
    output: int
    values: Mapping[int, Values]  #: what each value was while it was written down

    def depending_on(self, number: int) -> frozenset[int]:
        """Return the value of this number and all that are made with it."""
        found = {number}
        for made, step in self.steps.items():
            if not found.isdisjoint(sources_of(step)):
                found.add(made)
        return frozenset(found)


def sources_of(step: Step) -> tuple[int, ...]:
    """Return the numbers of the values that a step works on."""
    return step.sources if isinstance(step, Total | Join) else (step.source,)


def record(work: Callable[..., Tensor], *inputs: Tensor) -> Tape:
    """Return what ``work`` does to ``inputs``.

    The steps are the same for a batch of no image, ``(0, channels, rows, columns)``, which costs
    nothing: the way for who needs no values.

    Raises:
        UncoveredError: something that no step stands for.
    """
    with torch.no_grad():
        recorder = _Recorder(inputs)
        with recorder:
            result = work(*inputs)
    return Tape(
        inputs=tuple(range(len(inputs))),
        steps=_folded(recorder.steps),
        output=recorder.number_of(result),
        values=recorder.values,
    )


class _Recorder(TorchFunctionMode):
    """Sees every call of PyTorch; those that make a new value of a known one become steps."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.steps: dict[int, Step] = {}
        self.values: dict[int, Values] = {}
        self._numbers: dict[int, int] = {}  # by the identity of a tensor
        self._kept: list[Tensor] = []  # so that no identity is given out twice
        for tensor in inputs:
            self._name(tensor)

    def number_of(self, tensor: object) -> int:
        """Return the number of a value that was made here.

        Raises:
            UncoveredError: it is none of them.
        """
        number = self._numbers.get(id(tensor))
        if number is None:
            raise UncoveredError("a value of unknown origin")
        return number

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        given = kwargs or {}
        sources = [one for one in _flat([*args, *given.values()]) if id(one) in self._numbers]
        numbers = {id(one): self._numbers[id(one)] for one in sources}
        result = func(*args, **given)
        if not isinstance(result, Tensor) or not sources:
            return result
        if func in _UNCHANGED:
            self._kept.append(result)
            self._numbers[id(result)] = numbers[id(sources[0])]
            return result
        make = _STEPS.get(func)
        if make is None:
            raise UncoveredError(getattr(func, "__name__", str(func)))
        step = make(lambda one: numbers[id(one)], *args, **given)
        self.steps[self._name(result)] = step
        return result

    def _name(self, tensor: Tensor) -> int:
        number = len(self.values)
        self._kept.append(tensor)
        self._numbers[id(tensor)] = number
        self.values[number] = _copied(tensor)
        return number


_Numbers = Callable[[Tensor], int]


def _flat(values: Sequence[object]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [one for one in value if isinstance(one, Tensor)]
    return found


def _copied(tensor: Tensor) -> Values:
    return np.array(tensor.detach().float().cpu().numpy(), dtype=np.float32, order="C")


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, str):
        raise UncoveredError("padding by a word")
    numbers = (value, value) if isinstance(value, int) else (*value, *value)
    return numbers[0], numbers[1]


def _convolution(  # noqa: PLR0913, PLR0917 - the arguments of torch.conv2d
    number_of: _Numbers,
    source: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Step:
    return Convolution(
        source=number_of(source),
        weight=_copied(weight),
        bias=np.zeros(len(weight), dtype=np.float32) if bias is None else _copied(bias),
        stride=_pair(stride),
        padding=_pair(padding),
        dilation=_pair(dilation),
        groups=groups,
    )


def _norm(  # noqa: PLR0913, PLR0917 - the arguments of functional.batch_norm
    number_of: _Numbers,
    source: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,  # noqa: FBT001, FBT002 - as above
    momentum: float = 0.1,  # noqa: ARG001 - as above
    eps: float = 1e-5,
) -> Step:
    if training or running_mean is None or running_var is None or weight is None or bias is None:
        raise UncoveredError("a batch norm that learns")
    factor = _copied(weight).astype(np.float64) / np.sqrt(_copied(running_var) + float(eps))
    shift = _copied(bias) - _copied(running_mean) * factor
    return Norm(
        source=number_of(source),
        factor=factor.astype(np.float32),
        shift=shift.astype(np.float32),
    )


def _relu(number_of: _Numbers, source: Tensor, **_options: object) -> Step:
    return Clamp(source=number_of(source), low=0.0, high=float("inf"))


def _relu6(number_of: _Numbers, source: Tensor, **_options: object) -> Step:
    return Clamp(source=number_of(source), low=0.0, high=6.0)


def _hardtanh(
    number_of: _Numbers,
    source: Tensor,
    min_val: float = -1.0,
    max_val: float = 1.0,
    inplace: bool = False,  # noqa: ARG001, FBT001, FBT002 - the arguments of functional.hardtanh
) -> Step:
    return Clamp(source=number_of(source), low=float(min_val), high=float(max_val))


def _total(number_of: _Numbers, first: Tensor | float, second: Tensor | float) -> Step:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        if first.shape != second.shape:
            raise UncoveredError("a sum of two shapes")
        return Total(sources=(number_of(first), number_of(second)))
    tensor, number = (first, second) if isinstance(first, Tensor) else (second, first)
    return Line(source=number_of(_tensor(tensor)), factor=1.0, shift=_number(number))


def _product(number_of: _Numbers, first: Tensor | float, second: Tensor | float) -> Step:
    tensor, number = (first, second) if isinstance(first, Tensor) else (second, first)
    return Line(source=number_of(_tensor(tensor)), factor=_number(number), shift=0.0)


def _tensor(value: Tensor | float) -> Tensor:
    if not isinstance(value, Tensor):
        raise UncoveredError("a sum of numbers")
    return value


def _number(value: Tensor | float) -> float:
    if isinstance(value, Tensor):
        raise UncoveredError("a product of two values")
    return float(value)


def _mean(number_of: _Numbers, source: Tensor, dim: Sequence[int] = ()) -> Step:
    if tuple(dim) != (2, 3):
        raise UncoveredError("a mean of other things than cells")
    return Mean(source=number_of(source), cells=source.shape[2] * source.shape[3])


def _peak(number_of: _Numbers, source: Tensor, dim: Sequence[int] = ()) -> Step:
    if tuple(dim) != (2, 3):
        raise UncoveredError("the greatest of other things than cells")
    return Peak(source=number_of(source))


def _dense(number_of: _Numbers, source: Tensor, weight: Tensor, bias: Tensor | None = None) -> Step:
    return Dense(
        source=number_of(source),
        weight=_copied(weight),
        bias=np.zeros(len(weight), dtype=np.float32) if bias is None else _copied(bias),
    )


def _join(number_of: _Numbers, tensors: Sequence[Tensor], dim: int = 0) -> Step:
    if dim != 1 or any(one.dim() != 2 for one in tensors):  # noqa: PLR2004 - vectors of a batch
        raise UncoveredError("maps beside each other")
    return Join(
        sources=tuple(number_of(one) for one in tensors),
        widths=tuple(one.shape[1] for one in tensors),
    )


def _squeeze(number_of: _Numbers, source: Tensor, dim: int) -> Step:
    if source.dim() != 2 or dim != 1 or source.shape[1] != 1:  # noqa: PLR2004 - as above
        raise UncoveredError("a squeeze of more than one number for each image")
    return Squeeze(source=number_of(source))


_STEPS: Mapping[Callable[..., Any], Callable[..., Step]] = {
    torch.conv2d: _convolution,
    functional.batch_norm: _norm,
    functional.relu: _relu,
    functional.relu6: _relu6,
    functional.hardtanh: _hardtanh,
    functional.linear: _dense,
    torch.add: _total,
    Tensor.add: _total,
    Tensor.add_: _total,
    torch.mul: _product,
    Tensor.mul: _product,
    Tensor.mean: _mean,
    Tensor.amax: _peak,
    torch.cat: _join,
    Tensor.squeeze: _squeeze,
}
#: give back what they are given, in evaluation mode and float32
_UNCHANGED = frozenset({functional.dropout, Tensor.float, Tensor.contiguous})


def _folded(steps: Mapping[int, Step]) -> dict[int, Step]:
    """Return the steps with every batch norm taken into the convolution before it."""
    users: dict[int, int] = {}
    for step in steps.values():
        for source in sources_of(step):
            users[source] = users.get(source, 0) + 1
    folded: dict[int, Step] = {}
    for number, step in steps.items():
        before = folded.get(step.source) if isinstance(step, Norm) else None
        if isinstance(step, Norm) and isinstance(before, Convolution) and users[step.source] == 1:
            del folded[step.source]
            folded[number] = replace(
                before,
                weight=before.weight * step.factor[:, None, None, None],
                bias=before.bias * step.factor + step.shift,
            )
        else:
            folded[number] = step
    return folded
