"""The way of deeplasia-service, beside ours: images a second on this machine, one after the other.

Its way: eager float32, one image at a time; a mask network at 512, then EfficientNet-b0 at 512 and
at 1024 and -b4 at 512, on our own networks of the same shapes with random weights (its weights are
not public; the time does not depend on them). Its decoding, reports and heatmaps are not counted;
ours is the whole way from DICOM bytes to the outbox row.
"""

import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from models.hand_mask import hand_probability
from models.networks.deeplasia_efficientnet import EfficientNetTrunk
from models.networks.fast_surfer_mask import FastSurferMask
from models.phantom import draw_phantom
from schemas.images import Sex
from tests.benchmarks.estimate import IMAGES, read_images
from tests.benchmarks.figures import Aim, Figure

MEMBERS = (("b0", 512), ("b0", 1024), ("b4", 512))
MASK_SIZE, FILTERS, KERNEL = 512, 32, 5
CALLS = 3


def measure(*, runs: int) -> list[Figure]:
    """Return images a second of both; medians over all images."""
    with tempfile.TemporaryDirectory() as folder:
        _, milliseconds = read_images(Path(folder), count=IMAGES * runs)
    return [
        Figure(
            name="DICOM bytes to outbox row",
            value=1000 / statistics.median(milliseconds),
            unit="images/s",
            peer="mask and three networks, eager",
            peer_value=1 / _seconds_of_service(calls=CALLS * runs),
            aim=Aim(at_least=10.0),
        )
    ]


def _seconds_of_service(*, calls: int) -> float:
    torch.manual_seed(1)
    device = torch.device("cpu")
    mask = FastSurferMask(filters=FILTERS, kernel_size=KERNEL).eval()
    trunks = [(EfficientNetTrunk(variant).eval(), size) for variant, size in MEMBERS]
    drawn = draw_phantom(age_months=120, sex=Sex.FEMALE)
    grey = (drawn // 16).astype(np.uint8)
    seconds = []
    for call in range(calls + 1):
        began = perf_counter()
        hand_probability(grey, network=mask, size=MASK_SIZE, device=device)
        with torch.no_grad():
            for trunk, size in trunks:
                trunk(torch.randn((1, 1, size, size))).mean(dim=(2, 3))
        if call:  # the first one warms up
            seconds.append(perf_counter() - began)
    return statistics.median(seconds)
