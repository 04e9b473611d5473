"""Networks in OpenVINO: a member with its heatmap in one graph that runs forwards, and the gate."""

import importlib
import importlib.util
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.engines.openvino_steps import Known, Node, Ops, back, forward
from models.engines.tape import Tape, Values, record
from models.gate.network import GateNetwork, Sighting
from models.networks import AgeNetwork


def is_installed() -> bool:
    """Say whether OpenVINO is there, without loading it."""
    return importlib.util.find_spec("openvino") is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What a member says to the views of one image, and where that came from."""

    months: Values  #: ``(view,)``
    cells: Values  #: ``(view, rows, columns)`` months, see ``models.rescale``


class OpenVinoMember:
    """One member, compiled for a number of views of one image."""

    def __init__(
        self,
        network: AgeNetwork,
        *,
        empty: Tensor,
        size: int,
        views: int,
        threads: int,
        way_back: str = "f32",
    ) -> None:
        """Compile.

        Args:
            network: the member, in evaluation mode, on the processor.
            empty: its feature map of an empty exposure, ``(1, channels, rows, columns)``.
            size: side of its input, pixels.
            views: how many it is given at a time.
            threads: of the processor.
            way_back: how precise the heatmap's way back is, ``way_back_precision`` or ``f32``.

        Raises:
            UncoveredError: the network does something that has no counterpart here.
        """
        features = record(network.features, torch.zeros((0, 1, size, size)))
        head = record(network.head, empty.float(), torch.zeros((1, 1)))
        ops = _operations()
        image = ops.parameter([views, 1, size, size], np.float32)
        sex = ops.parameter([1, 1], np.float32)
        feature_map = _run(features, ops, {features.inputs[0]: image})[features.output]
        outputs = _explained(head, ops, feature_map, sex, way_back=way_back)
        self._graph = _Graph(outputs, inputs=(image, sex), threads=threads)

    def __call__(self, views: Values, *, sex: float) -> Explained:
        """Return what is said to ``(view, 1, size, size)``, read as one sex (1.0 male)."""
        months, cells = self._graph(views, np.array([[sex]], dtype=np.float32))
        return Explained(months=months, cells=cells)


class OpenVinoGate:
    """The gate's network, compiled for a number of views of one picture."""

    def __init__(self, network: GateNetwork, *, size: int, views: int, threads: int) -> None:
        """Compile.

        Args:
            network: in evaluation mode, on the processor.
            size: side of its input, pixels.
            views: how many it is given at a time.
            threads: of the processor.
        """
        tape = record(network.said, torch.zeros((0, 1, size, size)))
        ops = _operations()
        view = ops.parameter([views, 1, size, size], np.float32)
        said = _run(tape, ops, {tape.inputs[0]: view})[tape.output]
        self._graph = _Graph([said], inputs=[view], threads=threads)

    def __call__(self, views: Tensor) -> Sighting:
        """Return what is seen in ``(view, 1, size, size)``; as ``GateNetwork``."""
        (said,) = self._graph(views.numpy())
        return Sighting.of(torch.from_numpy(said))


class _Graph:
    """Nodes, compiled for the processor; whoever asks takes turns."""

    def __init__(self, outputs: Sequence[Node], *, inputs: Sequence[Node], threads: int) -> None:
        openvino: Any = importlib.import_module("openvino")
        compiled = openvino.Core().compile_model(
            openvino.Model([*outputs], [*inputs], "network"),
            "CPU",
            {
                # as written in the graph; bfloat16 all through gives months that are 0.09 off
                "INFERENCE_PRECISION_HINT": "dynamic",
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                # other threads and processes work on these cores too: nobody waits for one of them
                "ENABLE_CPU_PINNING": False,
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        self._request = compiled.create_infer_request()
        self._count = len(outputs)
        self._turn = threading.Lock()  # the request is there once, whoever asks

    def __call__(self, *given: Values) -> list[Values]:
        """Return the outputs, in their order."""
        with self._turn:
            self._request.infer([np.ascontiguousarray(one) for one in given], share_inputs=True)
            return [
                self._request.get_output_tensor(index).data.copy() for index in range(self._count)
            ]


def way_back_precision() -> str:
    """Return how precise the heatmap's way back may be: ``bf16`` where this processor has it.

    The way back says where the months are, not how many: the estimate is made in float32 whatever
    this is. In bfloat16 no field moved by more than 0.01 month on 60 hands (decision 0068).
    """
    openvino: Any = importlib.import_module("openvino")
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capabilities else "f32"


def _operations() -> Ops:
    """Load OpenVINO's operations; the library is an optional one."""
    return importlib.import_module("openvino.opset13")


def _run(tape: Tape, ops: Ops, given: Mapping[int, Node]) -> dict[int, Node]:
    """Return a node for each value of a tape."""
    nodes = dict(given)
    for number, step in tape.steps.items():
        if number not in nodes:
            nodes[number] = forward(step, ops, nodes)
    return nodes


def _explained(
    head: Tape, ops: Ops, feature_map: Node, sex: Node, *, way_back: str
) -> tuple[Node, Node]:
    """Return months, ``(view,)``, and the months of each cell, ``(view, rows, columns)``."""
    map_number, sex_number = head.inputs
    from_map, from_sex = head.depending_on(map_number), head.depending_on(sex_number)
    # the tape was recorded with the empty exposure: what the sex does not change is known
    constant = {
        number: ops.constant(value)
        for number, value in head.values.items()
        if number not in from_sex
    }
    known = Known(
        said=_run(head, ops, {map_number: feature_map, sex_number: sex}),
        empty=_run(head, ops, {**constant, sex_number: sex}),
        way_back=way_back,
    )
    slopes: dict[int, Node] = {head.output: ops.constant(np.ones((1,), dtype=np.float32))}
    for number, step in reversed(tuple(head.steps.items())):
        if number not in slopes:
            continue
        for source, slope in back(step, ops, slopes[number], known, number).items():
            if source in from_map:
                before = slopes.get(source)
                slopes[source] = slope if before is None else ops.add(before, slope)
    difference = ops.subtract(feature_map, known.empty[map_number])
    months = ops.multiply(difference, ops.convert(slopes[map_number], "f32"))
    return known.said[head.output], ops.reduce_sum(
        months, ops.constant(np.array([1])), keep_dims=False
    )
