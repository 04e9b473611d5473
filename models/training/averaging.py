"""A moving average of the weights that does not remember the start for long."""

from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

#: the average looks back over about a ninth of the steps so far, until ``decay`` bounds it.
#: With a constant 0.998, a third of the start was still in after 470 steps (EXPERIMENTS.md).
WARM_UP = 9
_NETWORK = "module.network."


class WarmAverage(WeightAveraging):
    """Exponential moving average of weights and buffers with a growing memory."""

    def __init__(self, *, decay: float) -> None:
        def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
            step = float(count)
            kept = min(decay, (1 + step) / (1 + WARM_UP + step))
            if not torch.is_floating_point(averaged):
                return current
            # lerp: what is frozen, and so the same in both, stays the same to the last bit
            return averaged.lerp(current, 1 - kept)

        options: dict[str, Any] = {"avg_fn": average}
        super().__init__(use_buffers=True, **options)

    def network_state(self) -> dict[str, Tensor]:
        """Return the averaged tensors of the module's ``network``.

        Lightning puts the plain weights back before ``on_validation_end``; whoever writes the
        weights that were validated asks here.
        """
        averaged = self._average_model
        if averaged is None:
            return {}
        return {
            name.removeprefix(_NETWORK): value
            for name, value in averaged.state_dict().items()
            if name.startswith(_NETWORK)
        }
