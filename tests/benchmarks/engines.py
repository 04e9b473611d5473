"""Engines: one image through the bare networks of the default release, in each engine there is.

The peer is PyTorch as it comes (eager, float32, contiguous). How far an engine's months are from
those of plain PyTorch stands beside its time. The product runs the members by PyTorch or, with the
extra ``fast``, by OpenVINO (``models/engines``, decision 0060); ONNX Runtime is no part of it.
"""

import importlib
import importlib.util
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

from models.release.load import load_release
from tests.benchmarks.figures import Aim, Figure

RELEASE = "rsna-2026.1"
CALLS = 15
VIEWS = 2  #: of an image that the release averages: the image and its mirror image
SAME_ANSWER = Aim(at_most=0.05)  #: months
Say = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """One member without anything around it, and one input for it."""

    network: nn.Module
    image: Tensor
    sex: Tensor


def bare_members(release: str = RELEASE, *, views: int = 1) -> list[Bare]:
    """Return the members of a release, each with so many views of an image, of its size."""
    loaded = load_release(release)
    made = torch.Generator().manual_seed(1)
    return [
        Bare(
            network=member.network,
            image=torch.randn(
                (views, 1, member.entry.input_size, member.entry.input_size), generator=made
            ),
            sex=torch.ones((views, 1)),
        )
        for member in loaded.members
    ]


def measure(*, runs: int, views: int = 1) -> list[Figure]:
    """Return milliseconds for one image through all members; medians over ``runs`` times 15."""
    members = bare_members(views=views)
    plain: list[float] = []
    figures: list[Figure] = []
    for name, build in ENGINES.items():
        says = [build(one) for one in members]
        milliseconds, months = _time(says, members, calls=CALLS * runs)
        plain = plain or [milliseconds, *months]
        figures.append(
            Figure(
                name=f"all members, {name}",
                value=milliseconds,
                unit="ms",
                peer="PyTorch eager" if figures else "",
                peer_value=plain[0] if figures else None,
            )
        )
        if len(figures) > 1:
            difference = max(abs(a - b) for a, b in zip(months, plain[1:], strict=True))
            figures.append(
                Figure(name=f"answer of {name}", value=difference, unit="months", aim=SAME_ANSWER)
            )
    return figures


def fastest_milliseconds(*, runs: int, views: int) -> tuple[str, float]:
    """Return the fastest engine that gives the same answer, and its time for one image."""
    figures = {one.name: one for one in measure(runs=runs, views=views)}
    times = {
        name: figures[f"all members, {name}"].value
        for name in ENGINES
        if name == PLAIN or SAME_ANSWER.holds_for(figures[f"answer of {name}"].value)
    }
    best = min(times, key=lambda name: times[name])
    return best, times[best]


def _time(says: Sequence[Say], members: Sequence[Bare], *, calls: int) -> tuple[float, list[float]]:
    def ask() -> list[float]:
        return [say(one.image, one.sex) for say, one in zip(says, members, strict=True)]

    months = ask()  # compiles, where the engine does
    ask()
    seconds = []
    for _ in range(calls):
        began = perf_counter()
        ask()
        seconds.append(perf_counter() - began)
    return statistics.median(seconds) * 1000, months


def _eager(one: Bare) -> Say:
    network = one.network.to(memory_format=torch.contiguous_format)
    return lambda image, sex: _forward(network, image, sex)


def _channels_last(one: Bare) -> Say:
    network = one.network.to(memory_format=torch.channels_last)
    return lambda image, sex: _forward(
        network, image.contiguous(memory_format=torch.channels_last), sex
    )


def _bfloat16(one: Bare) -> Say:
    say = _channels_last(one)

    def said(image: Tensor, sex: Tensor) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            return say(image, sex)

    return said


def _compiled(one: Bare) -> Say:
    network = torch.compile(one.network.to(memory_format=torch.channels_last))
    return lambda image, sex: _forward(
        network, image.contiguous(memory_format=torch.channels_last), sex
    )


def _onnx_runtime(one: Bare) -> Say:
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(_exported(one), providers=["CPUExecutionProvider"])
    return lambda image, sex: float(
        session.run(None, {"image": image.numpy(), "sex": sex.numpy()})[0].mean()
    )


def _openvino(one: Bare, precision: str = "f32") -> Say:
    openvino = importlib.import_module("openvino")
    model = openvino.Core().read_model(_exported(one))
    compiled = openvino.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    )
    return lambda image, sex: float(compiled([image.numpy(), sex.numpy()])[0].mean())


def _openvino_bfloat16(one: Bare) -> Say:
    return _openvino(one, "bf16")


def _exported(one: Bare) -> bytes:
    network = one.network.to(memory_format=torch.contiguous_format)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "member.onnx"
        torch.onnx.export(
            network,
            (one.image, one.sex),
            str(path),
            input_names=["image", "sex"],
            output_names=["months"],
            dynamo=False,
        )
        return path.read_bytes()


def _forward(network: Callable[..., Tensor], image: Tensor, sex: Tensor) -> float:
    with torch.inference_mode():
        return float(network(image, sex).mean())


PLAIN = "eager"


def _engines() -> Iterator[tuple[str, Callable[[Bare], Say]]]:
    yield PLAIN, _eager
    yield "channels_last", _channels_last
    yield "channels_last, bfloat16", _bfloat16
    yield "torch.compile", _compiled
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        yield "ONNX Runtime", _onnx_runtime
    if importlib.util.find_spec("openvino") and importlib.util.find_spec("onnx"):
        yield "OpenVINO", _openvino
        yield "OpenVINO, bfloat16", _openvino_bfloat16


ENGINES = dict(_engines())
