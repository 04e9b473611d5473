"""EfficientNet (Tan and Le 2019, arXiv 1905.11946) as Deeplasia's checkpoints need it.

The numbers are those of the paper. Two things set the checkpoints apart from timm's networks of
the same name: the padding is fixed for the native size of each variant, whatever size the picture
has, and there is one input channel. At 512 or 1024 pixels the fixed padding differs from one that
follows the picture in a single layer of b4 (the depthwise convolution of block 6: 2 and 2 pixels,
not 1 and 2), and that is enough to give other months.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

BATCH_NORM_EPSILON = 1e-3  # as in the TensorFlow original
_SQUEEZE = 0.25  #: share of a block's input channels inside its squeeze-and-excitation
_STEM, _HEAD, _DIVISOR = 32, 1280, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How one variant scales b0, and the size that its padding was fixed for."""

    width: float
    depth: float
    native_size: int


VARIANTS = {
    "b0": Variant(width=1.0, depth=1.0, native_size=224),
    "b1": Variant(width=1.0, depth=1.1, native_size=240),
    "b2": Variant(width=1.1, depth=1.2, native_size=260),
    "b3": Variant(width=1.2, depth=1.4, native_size=300),
    "b4": Variant(width=1.4, depth=1.8, native_size=380),
    "b5": Variant(width=1.6, depth=2.2, native_size=456),
    "b6": Variant(width=1.8, depth=2.6, native_size=528),
    "b7": Variant(width=2.0, depth=3.1, native_size=600),
    "b8": Variant(width=2.2, depth=3.6, native_size=672),
    "l2": Variant(width=4.3, depth=5.3, native_size=800),
}

#: repeats, kernel, stride, expansion, output channels of the seven stages of b0 (paper, table 1)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def scaled_width(channels: int, width: float) -> int:
    """Return the channels times the factor, a multiple of eight, at most a tenth smaller."""
    wanted = channels * width
    rounded = max(_DIVISOR, int(wanted + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * wanted else rounded


def scaled_depth(repeats: int, depth: float) -> int:
    """Return how often a block is repeated."""
    return math.ceil(repeats * depth)


def head_width(variant: str) -> int:
    """Return the channels of the last feature map."""
    return scaled_width(_HEAD, VARIANTS[variant].width)


def block_count(variant: str) -> int:
    """Return how many blocks there are."""
    return sum(scaled_depth(stage[0], VARIANTS[variant].depth) for stage in _STAGES)


def same_padding(size: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Return the pixels before and after that keep ``ceil(size / stride)`` positions."""
    missing = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return missing // 2, missing - missing // 2


class _FixedPaddingConv(nn.Conv2d):
    """A convolution without bias, padded for a picture of ``size``, whatever comes."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, stride: int, size: int, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
        self.padded = same_padding(size, kernel=kernel, stride=stride) * 2

    def forward(self, values: Tensor) -> Tensor:
        """Return the convolution of the padded map."""
        return super().forward(functional.pad(values, self.padded))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    inputs: int
    outputs: int
    kernel: int
    stride: int
    expansion: int
    size: int  #: side of the map that the padding is fixed for


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)


class _InvertedBottleneck(nn.Module):
    """Expand, depthwise, squeeze and excite, project; added to its input where shapes allow."""

    def __init__(self, block: _Block) -> None:
        super().__init__()
        middle = block.inputs * block.expansion
        squeezed = max(1, int(block.inputs * _SQUEEZE))
        self._is_expanded = block.expansion > 1
        self._is_residual = block.stride == 1 and block.inputs == block.outputs
        if self._is_expanded:
            self.expand_conv = nn.Conv2d(block.inputs, middle, 1, bias=False)
            self.bn0 = _norm(middle)
        self.depthwise_conv = _FixedPaddingConv(
            middle,
            middle,
            kernel=block.kernel,
            stride=block.stride,
            size=block.size,
            groups=middle,
        )
        self.bn1 = _norm(middle)
        self.se_reduce = nn.Conv2d(middle, squeezed, 1)
        self.se_expand = nn.Conv2d(squeezed, middle, 1)
        self.project_conv = nn.Conv2d(middle, block.outputs, 1, bias=False)
        self.bn2 = _norm(block.outputs)

    def forward(self, values: Tensor) -> Tensor:
        """Return the block's map."""
        inner = values
        if self._is_expanded:
            inner = functional.silu(self.bn0(self.expand_conv(inner)))
        inner = functional.silu(self.bn1(self.depthwise_conv(inner)))
        weight = functional.adaptive_avg_pool2d(inner, 1)
        weight = self.se_expand(functional.silu(self.se_reduce(weight)))
        inner = self.bn2(self.project_conv(inner * weight.sigmoid()))
        out: Tensor = inner + values if self._is_residual else inner
        return out


def _blocks(variant: Variant, *, size: int) -> list[_Block]:
    """Return every block; ``size`` is the side of the map behind the stem."""
    blocks: list[_Block] = []
    inputs = scaled_width(_STEM, variant.width)
    for repeats, kernel, stride, expansion, channels in _STAGES:
        outputs = scaled_width(channels, variant.width)
        for index in range(scaled_depth(repeats, variant.depth)):
            step = stride if index == 0 else 1
            blocks.append(
                _Block(
                    inputs=inputs,
                    outputs=outputs,
                    kernel=kernel,
                    stride=step,
                    expansion=expansion,
                    size=size,
                )
            )
            inputs, size = outputs, math.ceil(size / step)
    return blocks


class EfficientNetTrunk(nn.Module):
    """A grey picture in, the last feature map out, ``(batch, head_width, h / 32, w / 32)``."""

    def __init__(self, variant: str) -> None:
        """``variant``: one of ``VARIANTS``."""
        super().__init__()
        chosen = VARIANTS[variant]
        stem = scaled_width(_STEM, chosen.width)
        blocks = _blocks(chosen, size=math.ceil(chosen.native_size / 2))
        self.conv_stem = _FixedPaddingConv(1, stem, kernel=3, stride=2, size=chosen.native_size)
        self.bn0 = _norm(stem)
        self.blocks = nn.ModuleList(_InvertedBottleneck(block) for block in blocks)
        self.conv_head = nn.Conv2d(blocks[-1].outputs, head_width(variant), 1, bias=False)
        self.bn1 = _norm(head_width(variant))

    def forward(self, image: Tensor) -> Tensor:
        """Return the last feature map."""
        values = functional.silu(self.bn0(self.conv_stem(image)))
        for block in self.blocks:
            values = block(values)
        feature_map: Tensor = functional.silu(self.bn1(self.conv_head(values)))
        return feature_map
