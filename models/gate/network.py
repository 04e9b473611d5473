"""The gate's network: a few convolutions that say what a picture shows, and how it lies."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

TURNS = 4  #: quarter turns that a picture may lie in


class Kind(StrEnum):
    """What a picture shows."""

    HAND = "hand"  #: one whole hand with its wrist
    NOT_A_HAND = "not_a_hand"
    BOTH_HANDS = "both_hands"
    CUT_OFF = "cut_off"  #: fingertips, a side or the wrist are outside
    COVERED = "covered"  #: a cast or metal lies over the bones


KINDS = tuple(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What the network says about a batch, as logarithms of odds."""

    kinds: Tensor  #: ``(batch, kind)`` in the order of ``KINDS``
    turns: Tensor  #: ``(batch, 4)``: quarter turns anticlockwise that were done to an upright hand
    inverted: Tensor  #: ``(batch,)``: air is bright

    @staticmethod
    def of(said: Tensor) -> "Sighting":
        """Return what the network's numbers, ``(batch, kinds + turns + 1)``, mean."""
        return Sighting(
            kinds=said[:, : len(KINDS)],
            turns=said[:, len(KINDS) : len(KINDS) + TURNS],
            inverted=said[:, -1],
        )


def _stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class GateNetwork(nn.Module):
    """Four stages of two convolutions, pooled by mean and by maximum."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            _stage(width, 2 * width, stride=2),
            _stage(2 * width, 4 * width, stride=2),
            _stage(4 * width, 8 * width, stride=2),
            _stage(8 * width, 8 * width, stride=1),
        )
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(16 * width, len(KINDS) + TURNS + 1)

    def forward(self, view: Tensor) -> Sighting:
        """Return what is seen.

        Args:
            view: ``(batch, 1, size, size)`` float32, 0.0 air … 1.0 bone, less 0.5.
        """
        return Sighting.of(self.said(view))

    def said(self, view: Tensor) -> Tensor:
        """Return the same in one tensor, ``(batch, kinds + turns + 1)``."""
        seen = self.body(view)  # (B, 8 * width, size / 16, size / 16)
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)
        odds: Tensor = self.head(self.dropout(pooled))
        return odds
