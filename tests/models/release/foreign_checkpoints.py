"""Synthetic checkpoints in the names and shapes of others, from their description alone.

Nothing here uses our own networks: a wrong shape or a wrong name in them must show.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]

#: repeats, kernel, stride, expansion, output channels, padding before and after in the first block
B0 = (
    (1, 3, 1, 1, 16, (1, 1)),
    (2, 3, 2, 6, 24, (0, 1)),
    (2, 5, 2, 6, 40, (1, 2)),
    (3, 3, 2, 6, 80, (0, 1)),
    (3, 5, 1, 6, 112, (2, 2)),
    (4, 5, 2, 6, 192, (1, 2)),
    (1, 3, 1, 6, 320, (1, 1)),
)
B4 = (
    (2, 3, 1, 1, 24, (1, 1)),
    (4, 3, 2, 6, 32, (0, 1)),
    (4, 5, 2, 6, 56, (2, 2)),  # the layer whose fixed padding is not that of a 512-pixel picture
    (6, 3, 2, 6, 112, (0, 1)),
    (6, 5, 1, 6, 160, (2, 2)),
    (8, 5, 2, 6, 272, (1, 2)),
    (2, 3, 1, 6, 448, (1, 1)),
)
STEM = {"b0": 32, "b4": 48}
HEAD = {"b0": 1280, "b4": 1792}
STAGES = {"b0": B0, "b4": B4}


class Maker:
    """Draws weights that neither vanish nor explode, always the same for one seed."""

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def _normal(self, *shape: int, sd: float) -> Tensor:
        return torch.randn(*shape, generator=self._random) * sd

    def conv(self, name: str, *shape: int, bias: bool = False) -> None:
        fan_in = shape[1] * shape[2] * shape[3]
        self.state[f"{name}.weight"] = self._normal(*shape, sd=(2.0 / fan_in) ** 0.5)
        if bias:
            self.state[f"{name}.bias"] = self._normal(shape[0], sd=0.1)

    def linear(self, name: str, inputs: int, outputs: int) -> None:
        self.state[f"{name}.weight"] = self._normal(outputs, inputs, sd=(3.0 / inputs) ** 0.5)
        self.state[f"{name}.bias"] = self._normal(outputs, sd=0.1)

    def last(self, name: str, inputs: int) -> None:
        """The age's z-score, small enough that a picture of another kind still gets an age."""
        self.linear(name, inputs, 1)
        self.state[f"{name}.weight"] *= 0.05

    def norm(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = 1 + self._normal(channels, sd=0.1)
        self.state[f"{name}.bias"] = self._normal(channels, sd=0.1)
        self.state[f"{name}.running_mean"] = self._normal(channels, sd=0.1)
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=self._random)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def number(self, name: str, value: float) -> None:
        self.state[name] = torch.full((1,), value)


def efficientnet_blocks(variant: str) -> Iterator[tuple[int, int, int, int, int, tuple[int, int]]]:
    """Every block: inputs, outputs, kernel, stride, expansion, padding."""
    inputs = STEM[variant]
    for repeats, kernel, stride, expansion, outputs, padding in STAGES[variant]:
        for index in range(repeats):
            half = kernel // 2
            yield (
                *(inputs, outputs, kernel, stride if index == 0 else 1, expansion),
                padding if index == 0 else (half, half),
            )
            inputs = outputs


def _efficientnet(make: Maker, prefix: str, variant: str) -> None:
    make.conv(f"{prefix}_conv_stem", STEM[variant], 1, 3, 3)
    make.norm(f"{prefix}_bn0", STEM[variant])
    last = 0
    for index, block in enumerate(efficientnet_blocks(variant)):
        inputs, outputs, kernel, _stride, expansion, _padding = block
        middle, squeezed = inputs * expansion, inputs // 4
        name = f"{prefix}_blocks.{index}."
        if expansion > 1:
            make.conv(f"{name}_expand_conv", middle, inputs, 1, 1)
            make.norm(f"{name}_bn0", middle)
        make.conv(f"{name}_depthwise_conv", middle, 1, kernel, kernel)
        make.norm(f"{name}_bn1", middle)
        make.conv(f"{name}_se_reduce", squeezed, middle, 1, 1, bias=True)
        make.conv(f"{name}_se_expand", middle, squeezed, 1, 1, bias=True)
        make.conv(f"{name}_project_conv", outputs, middle, 1, 1)
        make.norm(f"{name}_bn2", outputs)
        last = outputs
    make.conv(f"{prefix}_conv_head", HEAD[variant], last, 1, 1)
    make.norm(f"{prefix}_bn1", HEAD[variant])


def _dense(make: Maker, name: str, inputs: int, widths: Sequence[int]) -> int:
    for index, outputs in enumerate(widths):
        make.linear(f"{name}.{index}", inputs, outputs)
        inputs = outputs
    return inputs


def legacy_efficientnet(variant: str, *, dense: Sequence[int] = (24,), seed: int = 1) -> State:
    """A published-result model: legacy names, with the unused thousand classes."""
    make = Maker(seed)
    _efficientnet(make, "base.", variant)
    make.linear("base._fc", HEAD[variant], 1000)
    make.linear("fc_gender_in", 1, 32)
    make.last("fc_boneage", _dense(make, "dense_blocks", HEAD[variant] + 32, dense))
    return make.state


def new_efficientnet(
    variant: str, *, sex_classifier: Sequence[int] | None = None, sex_features: int = 32
) -> State:
    """A model of the new layout, with a head for the sex as every one of them has."""
    make = Maker(2)
    _efficientnet(make, "backbone.base.", variant)
    features = HEAD[variant]
    if sex_features:
        make.linear("dense.fc_gender_in", 1, sex_features)
    trunk = _dense(make, "dense.dense_blocks", features + sex_features, (24, 16))
    make.last("dense.fc_boneage", trunk)
    if sex_classifier is None:
        make.linear("dense.fc_sex", trunk, 1)
    else:
        own = _dense(make, "dense.explicit_sex_classifier", features, sex_classifier)
        make.linear("dense.fc_sex", own, 1)
    make.number("loss.s", 0.1)
    return make.state


#: kind of a convolution with batch norm: name, inputs, outputs, kernel (rows, columns)
_InceptionConv = tuple[str, int, int, tuple[int, int]]


def _inception_convs() -> Iterator[_InceptionConv]:
    """Every convolution of Inception-v3 behind the first, by the checkpoint's numbers."""
    yield from (
        ("2", 32, 32, (3, 3)),
        ("3", 32, 64, (3, 3)),
        ("5", 64, 80, (1, 1)),
        ("6", 80, 192, (3, 3)),
    )
    for number, inputs, pooled in (("8", 192, 32), ("9", 256, 64), ("10", 288, 64)):
        yield from (
            (f"{number}.branch1x1", inputs, 64, (1, 1)),
            (f"{number}.branch5x5_1", inputs, 48, (1, 1)),
            (f"{number}.branch5x5_2", 48, 64, (5, 5)),
            (f"{number}.branch3x3dbl_1", inputs, 64, (1, 1)),
            (f"{number}.branch3x3dbl_2", 64, 96, (3, 3)),
            (f"{number}.branch3x3dbl_3", 96, 96, (3, 3)),
            (f"{number}.branch_pool", inputs, pooled, (1, 1)),
        )
    yield from (
        ("11.branch3x3", 288, 384, (3, 3)),
        ("11.branch3x3dbl_1", 288, 64, (1, 1)),
        ("11.branch3x3dbl_2", 64, 96, (3, 3)),
        ("11.branch3x3dbl_3", 96, 96, (3, 3)),
    )
    for number, width in (("12", 128), ("13", 160), ("14", 160), ("15", 192)):
        yield from (
            (f"{number}.branch1x1", 768, 192, (1, 1)),
            (f"{number}.branch7x7_1", 768, width, (1, 1)),
            (f"{number}.branch7x7_2", width, width, (1, 7)),
            (f"{number}.branch7x7_3", width, 192, (7, 1)),
            (f"{number}.branch7x7dbl_1", 768, width, (1, 1)),
            (f"{number}.branch7x7dbl_2", width, width, (7, 1)),
            (f"{number}.branch7x7dbl_3", width, width, (1, 7)),
            (f"{number}.branch7x7dbl_4", width, width, (7, 1)),
            (f"{number}.branch7x7dbl_5", width, 192, (1, 7)),
            (f"{number}.branch_pool", 768, 192, (1, 1)),
        )
    yield from (
        ("16.branch3x3_1", 768, 192, (1, 1)),
        ("16.branch3x3_2", 192, 320, (3, 3)),
        ("16.branch7x7x3_1", 768, 192, (1, 1)),
        ("16.branch7x7x3_2", 192, 192, (1, 7)),
        ("16.branch7x7x3_3", 192, 192, (7, 1)),
        ("16.branch7x7x3_4", 192, 192, (3, 3)),
    )
    for number, inputs in (("17", 1280), ("18", 2048)):
        yield from (
            (f"{number}.branch1x1", inputs, 320, (1, 1)),
            (f"{number}.branch3x3_1", inputs, 384, (1, 1)),
            (f"{number}.branch3x3_2a", 384, 384, (1, 3)),
            (f"{number}.branch3x3_2b", 384, 384, (3, 1)),
            (f"{number}.branch3x3dbl_1", inputs, 448, (1, 1)),
            (f"{number}.branch3x3dbl_2", 448, 384, (3, 3)),
            (f"{number}.branch3x3dbl_3a", 384, 384, (1, 3)),
            (f"{number}.branch3x3dbl_3b", 384, 384, (3, 1)),
            (f"{number}.branch_pool", inputs, 192, (1, 1)),
        )


def legacy_inception() -> State:
    """Deeplasia's Inception-v3 of the legacy layout."""
    make = Maker(3)
    make.conv("features.0", 32, 1, 3, 3, bias=True)
    make.norm("features.1", 32)
    for name, inputs, outputs, kernel in _inception_convs():
        make.conv(f"features.{name}.conv", outputs, inputs, *kernel)
        make.norm(f"features.{name}.bn", outputs)
    make.linear("male_fc", 1, 32)
    make.last("fc_boneage", _dense(make, "dense_blocks", 2048 + 32, (24,)))
    return make.state


def mask_network(*, filters: int = 8, hand_bias: float = 0.0) -> State:
    """Deeplasia's mask network, with fewer filters."""
    make = Maker(4)
    names = ("encode1", "encode2", "encode3", "encode4", "bottleneck")
    for name in (*names, "decode4", "decode3", "decode2", "decode1"):
        inputs = 1 if name == "encode1" else filters
        block = f"backbone.{name}."
        make.conv(f"{block}conv0", filters, inputs, 5, 5, bias=True)
        make.conv(f"{block}conv1", filters, filters, 5, 5, bias=True)
        make.conv(f"{block}conv2", filters, filters, 1, 1, bias=True)
        for norm in ("bn1", "bn2", "bn3"):
            make.norm(f"{block}{norm}", filters)
        if name == "encode1":
            make.norm(f"{block}bn0", 1)
        make.number(f"{block}prelu.weight", 0.25)
    make.conv("backbone.classifier.conv", 2, filters, 1, 1, bias=True)
    make.state["backbone.classifier.conv.bias"] = torch.tensor([0.0, hand_bias])
    return make.state


#: kind, repeats, kernel, stride, expansion, outputs of EfficientNetV2-S (Tan and Le 2021, table 4)
V2_S = (
    ("fused", 2, 3, 1, 1, 24),
    ("fused", 4, 3, 2, 4, 48),
    ("fused", 4, 3, 2, 4, 64),
    ("mobile", 6, 3, 2, 4, 128),
    ("mobile", 9, 3, 1, 6, 160),
    ("mobile", 15, 3, 2, 6, 256),
)


def v2_blocks() -> Iterator[tuple[str, str, int, int, int, int]]:
    """Every block: name, kind, inputs, outputs, stride, expansion."""
    inputs = 24
    for stage, (kind, repeats, _kernel, stride, expansion, outputs) in enumerate(V2_S):
        for index in range(repeats):
            first = stride if index == 0 else 1
            yield (
                f"efficientnet_v2.blocks.{stage}.{index}.",
                kind,
                inputs,
                outputs,
                first,
                expansion,
            )
            inputs = outputs


def boneage_predict(*, pool: int = 2, dense: int = 20) -> State:
    """boneAge_predict's network, with narrower dense layers."""
    make = Maker(5)
    make.conv("efficientnet_v2.conv_stem", 24, 1, 3, 3)
    make.norm("efficientnet_v2.bn1", 24)
    for name, kind, inputs, outputs, _stride, expansion in v2_blocks():
        middle = inputs * expansion
        if kind == "mobile":
            make.conv(f"{name}conv_pw", middle, inputs, 1, 1)
            make.norm(f"{name}bn1", middle)
            make.conv(f"{name}conv_dw", middle, 1, 3, 3)
            make.norm(f"{name}bn2", middle)
            make.conv(f"{name}se.conv_reduce", inputs // 4, middle, 1, 1, bias=True)
            make.conv(f"{name}se.conv_expand", middle, inputs // 4, 1, 1, bias=True)
            make.conv(f"{name}conv_pwl", outputs, middle, 1, 1)
            make.norm(f"{name}bn3", outputs)
        elif expansion == 1:
            make.conv(f"{name}conv", outputs, inputs, 3, 3)
            make.norm(f"{name}bn1", outputs)
        else:
            make.conv(f"{name}conv_exp", middle, inputs, 3, 3)
            make.norm(f"{name}bn1", middle)
            make.conv(f"{name}conv_pwl", outputs, middle, 1, 1)
            make.norm(f"{name}bn2", outputs)
    make.conv("efficientnet_v2.conv_head", 1280, 256, 1, 1)
    make.norm("efficientnet_v2.bn2", 1280)
    make.linear("gender", 1, 16)
    make.linear("fc_1", 1280 * pool**2 + 16, dense)
    make.linear("fc_2", dense, dense)
    make.linear("fc_3", dense, 1)
    make.state["fc_3.weight"] *= 20  # months, not z-scores
    make.state["fc_3.bias"] += 120
    return make.state


CONVNEXT_TINY = ((3, 96), (3, 192), (9, 384), (3, 768))  # blocks and channels of each stage


def _layer_norm(make: Maker, name: str, channels: int) -> None:
    make.norm(name, channels)
    for extra in ("running_mean", "running_var", "num_batches_tracked"):
        del make.state[f"{name}.{extra}"]


def bone_age_convnext(*, networks: Sequence[str] = ("net0.", "net1.", "net2.")) -> State:
    """ianpan/bone-age: ConvNeXtV2-tiny with two input channels, GeM and 240 months."""
    state: State = {}
    for seed, prefix in enumerate(networks):
        make = Maker(10 + seed)
        make.conv("backbone.stem.0", 96, 2, 4, 4, bias=True)
        _layer_norm(make, "backbone.stem.1", 96)
        before = 96
        for stage, (blocks, channels) in enumerate(CONVNEXT_TINY):
            name = f"backbone.stages.{stage}."
            if stage:
                _layer_norm(make, f"{name}downsample.0", before)
                make.conv(f"{name}downsample.1", channels, before, 2, 2, bias=True)
            for index in range(blocks):
                block = f"{name}blocks.{index}."
                make.conv(f"{block}conv_dw", channels, 1, 7, 7, bias=True)
                _layer_norm(make, f"{block}norm", channels)
                make.linear(f"{block}mlp.fc1", channels, 4 * channels)
                _layer_norm(make, f"{block}mlp.grn", 4 * channels)
                make.linear(f"{block}mlp.fc2", 4 * channels, channels)
            before = channels
        _layer_norm(make, "backbone.head.norm", 768)
        make.number("pooling.p", 2.7)
        make.linear("linear", 768, 240)
        state |= {f"{prefix}{name}": value for name, value in make.state.items()}
    return state
