"""The mask network: a U-shaped network of competitive dense blocks.

The architecture is that of FastSurferCNN (Henschel et al., NeuroImage 2020;219:117012) in one
plane: four encoders, a bottleneck and four decoders of equal width; feature maps compete by an
elementwise maximum instead of being joined, and unpooling puts values back where they came from.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 2  #: background, hand


class _CompetitiveBlock(nn.Module):
    """Two wide convolutions and one of a single pixel; each map competes with the one before."""

    def __init__(self, *, filters: int, kernel_size: int, channels: int | None = None) -> None:
        """``channels``: of the picture, for the first block; None: ``filters``."""
        super().__init__()
        half = kernel_size // 2
        self.conv0 = nn.Conv2d(channels or filters, filters, kernel_size, padding=half)
        self.conv1 = nn.Conv2d(filters, filters, kernel_size, padding=half)
        self.conv2 = nn.Conv2d(filters, filters, 1)
        self.bn0 = nn.BatchNorm2d(channels) if channels else None
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(filters) for _ in range(3))
        self.prelu = nn.PReLU()

    def forward(self, values: Tensor) -> Tensor:
        """Return the block's map, ``(batch, filters, rows, columns)``."""
        if self.bn0 is not None:
            first = self.bn1(self.conv0(self.bn0(values)))
        else:
            first = torch.maximum(values, self.bn1(self.conv0(self.prelu(values))))
        second = torch.maximum(first, self.bn2(self.conv1(self.prelu(first))))
        out: Tensor = self.bn3(self.conv2(self.prelu(second)))
        return out


class _Classifier(nn.Module):
    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(filters, CLASSES, 1)

    def forward(self, values: Tensor) -> Tensor:
        logits: Tensor = self.conv(values)
        return logits


class FastSurferMask(nn.Module):
    """A grey picture in, the probability that a pixel belongs to the hand out."""

    def __init__(self, *, filters: int, kernel_size: int) -> None:
        super().__init__()
        self.encode1 = _CompetitiveBlock(filters=filters, kernel_size=kernel_size, channels=1)
        self.bottleneck = _CompetitiveBlock(filters=filters, kernel_size=kernel_size)
        for name in ("encode2", "encode3", "encode4", "decode4", "decode3", "decode2", "decode1"):
            self.add_module(name, _CompetitiveBlock(filters=filters, kernel_size=kernel_size))
        self.classifier = _Classifier(filters)

    def forward(self, picture: Tensor) -> Tensor:
        """Return ``(batch, rows, columns)`` probabilities, 0 to 1.

        Args:
            picture: ``(batch, 1, rows, columns)`` float32, 0 to 1; sides divisible by 16.
        """
        values, kept = picture, []
        for level in (1, 2, 3, 4):
            skip = self.get_submodule(f"encode{level}")(values)
            values, places = functional.max_pool2d(skip, 2, return_indices=True)
            kept.append((skip, places))
        values = self.bottleneck(values)
        for level in (4, 3, 2, 1):
            skip, places = kept[level - 1]
            values = torch.maximum(functional.max_unpool2d(values, places, [2, 2]), skip)
            values = self.get_submodule(f"decode{level}")(values)
        hand: Tensor = self.classifier(values).softmax(dim=1)[:, 1]
        return hand
