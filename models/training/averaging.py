"""A moving average of the weights that does not remember the start for long."""

from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

#: the average looks back over about a ninth of the steps so far, until ``decay`` bounds it.
#: With a constant 0.998, a third of the start was still in after 470 steps (EXPERIMENTS.md).
WARM_UP = 9


class WarmAverage(WeightAveraging):
    """Exponential moving average of weights and buffers with a growing memory."""

    def __init__(self, *, decay: float) -> None:
        def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
            step = float(count)
            kept = min(decay, (1 + step) / (1 + WARM_UP + step))
            if not torch.is_floating_point(averaged):
                return current
            return averaged * kept + current * (1 - kept)

        options: dict[str, Any] = {"avg_fn": average}
        super().__init__(use_buffers=True, **options)
