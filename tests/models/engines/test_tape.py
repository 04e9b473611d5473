from dataclasses import asdict

import numpy as np
import torch

from models.engines.tape import record
from models.networks import build_network

SIZE = 64


def test_a_batch_of_no_image_writes_down_the_steps_of_any_batch() -> None:
    network = build_network("efficientnet_lite0", age_mean_months=120.0, age_sd_months=40.0)
    network.eval()

    of_none, of_two = (
        record(network.features, torch.zeros((images, 1, SIZE, SIZE))) for images in (0, 2)
    )

    assert (of_none.inputs, of_none.output) == (of_two.inputs, of_two.output)
    assert list(of_none.steps) == list(of_two.steps)
    for none, two in zip(of_none.steps.values(), of_two.steps.values(), strict=True):
        assert type(none) is type(two)
        np.testing.assert_equal(asdict(none), asdict(two))
