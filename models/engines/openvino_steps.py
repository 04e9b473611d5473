"""Each step of a tape as nodes of OpenVINO, forwards and backwards.

Backwards is written as forward steps too: a convolution goes back as a convolution with its kernels
turned round, a bend by its slope between the empty exposure and the image. Maps on the way back may
be less precise than those forwards (``Known.way_back``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from models.engines.tape import (
    Clamp,
    Convolution,
    Dense,
    Join,
    Line,
    Mean,
    Peak,
    Squeeze,
    Step,
    Total,
    UncoveredError,
    Values,
)
from models.rescale import NO_DIFFERENCE

Node = Any  # OpenVINO is an optional library: its types are not always there
Ops = Any  # its module of operations, ``openvino.opset13``
Nodes = Mapping[int, Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The values of a tape, once for the image and once for the empty exposure."""

    said: Nodes
    empty: Nodes
    way_back: str  #: how precise the maps on the way back are, "f32" or "bf16"


@singledispatch
def forward(step: Step, ops: Ops, nodes: Nodes) -> Node:  # noqa: ARG001 - what all take
    """Return what a step makes of its sources.

    Raises:
        UncoveredError: there is nothing for such a step here.
    """
    raise UncoveredError(type(step).__name__)


@singledispatch
def back(step: Step, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:  # noqa: ARG001
    """Return the months for each unit of each source.

    Args:
        step: what was done.
        ops: OpenVINO's operations.
        slope: the months for each unit of what the step made.
        known: all values.
        made: the number of the value that the step made.
    """
    raise UncoveredError(type(step).__name__)


@forward.register
def _(step: Convolution, ops: Ops, nodes: Nodes) -> Node:
    if step.dilation != (1, 1):
        raise UncoveredError("a dilated convolution")
    convolved = _convolve(
        ops,
        nodes[step.source],
        step.weight,
        groups=step.groups,
        strides=step.stride,
        pads=step.padding,
    )
    return ops.add(convolved, ops.constant(step.bias.reshape(1, -1, 1, 1)))


@back.register
def _(step: Convolution, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:  # noqa: ARG001
    if step.stride == (1, 1):
        kernel = step.weight.shape[2:]
        pads = (kernel[0] - 1 - step.padding[0], kernel[1] - 1 - step.padding[1])
        turned = _turned(step)
        return {
            step.source: _convolve(
                ops, slope, turned, groups=step.groups, strides=(1, 1), pads=pads
            )
        }
    return {step.source: _transposed(step, ops, slope, known.said[step.source])}


def _turned(step: Convolution) -> Values:
    """Return the kernels turned by half a turn, inputs and outputs exchanged."""
    outputs, inputs, *kernel = step.weight.shape
    grouped = step.weight.reshape(step.groups, outputs // step.groups, inputs, *kernel)
    exchanged = grouped.swapaxes(1, 2)[..., ::-1, ::-1]
    return exchanged.reshape(step.groups * inputs, outputs // step.groups, *kernel)


def _convolve(
    ops: Ops,
    node: Node,
    weight: Values,
    *,
    groups: int,
    strides: tuple[int, int],
    pads: tuple[int, int],
) -> Node:
    kernels = ops.convert(ops.constant(_grouped(weight, groups=groups)), _precision(node))
    convolution = ops.group_convolution if groups > 1 else ops.convolution
    return convolution(node, kernels, list(strides), list(pads), list(pads), [1, 1])


def _transposed(step: Convolution, ops: Ops, slope: Node, source: Node) -> Node:
    """Return a convolution with strides gone back, in the size of its source."""
    missing = [
        source.get_output_shape(0)[axis + 2]
        - step.stride[axis] * (slope.get_output_shape(0)[axis + 2] - 1)
        - (step.weight.shape[axis + 2] - 2 * step.padding[axis])
        for axis in (0, 1)
    ]  # rows and columns behind the last kernel
    convolution = ops.convolution_backprop_data
    if step.groups > 1:
        convolution = ops.group_convolution_backprop_data
    gone_back = convolution(
        ops.convert(slope, "f32"),  # OpenVINO has only a slow one for bfloat16
        ops.constant(_grouped(step.weight, groups=step.groups)),
        list(step.stride),
        pads_begin=list(step.padding),
        pads_end=list(step.padding),
        dilations=[1, 1],
        output_padding=missing,
    )
    return ops.convert(gone_back, _precision(slope))


def _precision(node: Node) -> str:
    """Return the type of a node's values, as ``convert`` names it."""
    return str(node.get_element_type().get_type_name())


def _grouped(weight: Values, *, groups: int) -> Values:
    """Return kernels as OpenVINO wants them: the groups, if there are any, are the first axis."""
    shape = (groups, -1, *weight.shape[1:]) if groups > 1 else weight.shape
    return np.ascontiguousarray(weight.reshape(shape))


@forward.register
def _(step: Clamp, ops: Ops, nodes: Nodes) -> Node:
    if step.low == 0 and np.isinf(step.high):
        return ops.relu(nodes[step.source])
    return ops.clamp(nodes[step.source], step.low, step.high)


@back.register
def _(step: Clamp, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:
    start = known.empty[step.source]
    run = ops.subtract(known.said[step.source], start)
    rise = ops.subtract(known.said[made], known.empty[made])
    is_level = ops.less(ops.absolute(run), np.float32(NO_DIFFERENCE))
    is_free = ops.logical_and(
        ops.greater(start, np.float32(step.low)), ops.less(start, np.float32(step.high))
    )
    secant = ops.select(is_level, ops.convert(is_free, np.float32), ops.divide(rise, run))
    return {step.source: ops.multiply(slope, ops.convert(secant, _precision(slope)))}


@forward.register
def _(step: Total, ops: Ops, nodes: Nodes) -> Node:
    return ops.add(nodes[step.sources[0]], nodes[step.sources[1]])


@back.register
def _(step: Total, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:  # noqa: ARG001
    first, second = step.sources
    return {first: ops.add(slope, slope)} if first == second else {first: slope, second: slope}


@forward.register
def _(step: Mean, ops: Ops, nodes: Nodes) -> Node:
    return ops.reduce_mean(nodes[step.source], ops.constant(np.array([2, 3])), keep_dims=False)


@back.register
def _(step: Mean, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:  # noqa: ARG001
    each = ops.multiply(slope, np.float32(1 / step.cells))
    of_a_cell = ops.unsqueeze(each, ops.constant(np.array([2, 3])))
    return {step.source: ops.convert(of_a_cell, known.way_back)}


@forward.register
def _(step: Peak, ops: Ops, nodes: Nodes) -> Node:
    return ops.reduce_max(nodes[step.source], ops.constant(np.array([2, 3])), keep_dims=False)


@forward.register
def _(step: Dense, ops: Ops, nodes: Nodes) -> Node:
    weight = ops.constant(step.weight)
    product = ops.matmul(nodes[step.source], weight, transpose_a=False, transpose_b=True)
    return ops.add(product, ops.constant(step.bias))


@back.register
def _(step: Dense, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:  # noqa: ARG001
    weight = ops.constant(step.weight)
    return {step.source: ops.matmul(slope, weight, transpose_a=False, transpose_b=False)}


@forward.register
def _(step: Join, ops: Ops, nodes: Nodes) -> Node:
    """Put vectors side by side; what comes from the sex alone is repeated for every view."""
    parts = [nodes[source] for source in step.sources]
    views = max(part.get_output_shape(0)[0] for part in parts)
    repeats = [views // part.get_output_shape(0)[0] for part in parts]
    return ops.concat(
        [
            part if times == 1 else ops.tile(part, ops.constant(np.array([times, 1])))
            for part, times in zip(parts, repeats, strict=True)
        ],
        1,
    )


@back.register
def _(step: Join, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:  # noqa: ARG001
    parts = ops.variadic_split(
        slope, ops.constant(np.array(1)), ops.constant(np.array(step.widths))
    )
    return {source: parts.output(index) for index, source in enumerate(step.sources)}


@forward.register
def _(step: Line, ops: Ops, nodes: Nodes) -> Node:
    return ops.add(
        ops.multiply(nodes[step.source], np.float32(step.factor)), np.float32(step.shift)
    )


@back.register
def _(step: Line, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:  # noqa: ARG001
    return {step.source: ops.multiply(slope, np.float32(step.factor))}


@forward.register
def _(step: Squeeze, ops: Ops, nodes: Nodes) -> Node:
    return ops.squeeze(nodes[step.source], ops.constant(np.array([1])))


@back.register
def _(step: Squeeze, ops: Ops, slope: Node, known: Known, made: int) -> dict[int, Node]:  # noqa: ARG001
    return {step.source: ops.unsqueeze(slope, ops.constant(np.array([1])))}
