"""No accelerator was found: nothing is said about one. With one, images a second in batches."""

import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch

from models.ensemble import load_estimator
from models.phantom import draw_phantom
from models.release.load import load_release
from schemas.estimates import HandImage
from schemas.images import Sex
from tests.benchmarks.engines import RELEASE, VIEWS
from tests.benchmarks.figures import Aim, Figure

BATCH = 32
CALLS = 10


def measure(*, runs: int) -> list[Figure]:
    """Return images a second with heatmaps beside the bare networks; nothing without a GPU."""
    if not torch.cuda.is_available():
        return []
    pixels = draw_phantom(age_months=120, sex=Sex.FEMALE).astype(np.float32)
    images = [HandImage(pixels=pixels, sexes=(Sex.FEMALE,))] * BATCH
    estimator = load_estimator(RELEASE, device="cuda")
    estimator.read(images)
    whole = statistics.median(_seconds(lambda: estimator.read(images)) for _ in range(CALLS * runs))
    members = load_release(RELEASE, device="cuda").members
    views = VIEWS * BATCH
    made = [
        torch.randn((views, 1, one.entry.input_size, one.entry.input_size), device="cuda")
        for one in members
    ]
    sex = torch.ones((views, 1), device="cuda")

    def forward() -> None:
        with torch.inference_mode():
            for one, batch in zip(members, made, strict=True):
                one.network(batch, sex)

    forward()
    bare = statistics.median(_seconds(forward) for _ in range(CALLS * runs))
    return [
        Figure(
            name=f"estimate with heatmap, batch {BATCH}, {torch.cuda.get_device_name()}",
            value=BATCH / whole,
            unit="images/s",
            peer="bare forward passes, both views",
            peer_value=BATCH / bare,
            aim=Aim(at_least=0.8),
        )
    ]


def _seconds(action: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = perf_counter()
    action()
    torch.cuda.synchronize()
    return perf_counter() - began
