"""What is measured on a GPU runs on a processor too, so that it is there when a GPU is."""

from pathlib import Path

import pytest
import torch

from tests.benchmarks import gpu
from tests.benchmarks.figures import Verdict
from tests.models.builders import written_release


def test_every_figure_is_measured_on_a_processor_with_small_networks(tmp_path: Path) -> None:
    release = written_release(tmp_path / "release")
    trial = gpu.Trial(device="cpu", release=release, batch=2, images=4, calls=1)

    figures = {one.name: one for one in gpu.measure_on(trial, name="a processor")}

    assert all(one.value >= 0 for one in figures.values())
    assert figures["infer, 2 in hand, a processor"].peer_value
    assert 0 <= figures["idle with a full queue"].value < 1
    assert 1 <= figures["mean batch"].value <= 2
    assert figures["answer, bfloat16, channels_last"].verdict is not Verdict.NO_AIM


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured() -> None:
    assert gpu.measure(runs=1) == []
