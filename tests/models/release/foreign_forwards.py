"""The networks of others, written down once more from their description, in plain functions.

They read the tensors by the authors' own names; our networks, names and padding have no part.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as f

from tests.models.release.foreign_checkpoints import (
    CONVNEXT_TINY,
    State,
    efficientnet_blocks,
    v2_blocks,
)

#: the state whose running statistics are being made, if any
_settling: list[State] = []


def settle(state: State, forward: Callable[[], object]) -> State:
    """Give the batch norms the statistics of one forward pass, as training would have.

    Without that, random weights make outputs that vanish, explode, or do not depend on the picture.
    """
    _settling.append(state)
    try:
        with torch.no_grad():
            forward()
    finally:
        _settling.pop()
    return state


def _norm(x: Tensor, state: State, name: str, *, eps: float) -> Tensor:
    if any(state is one for one in _settling):
        state[f"{name}.running_mean"] = x.mean(dim=(0, 2, 3))
        state[f"{name}.running_var"] = x.var(dim=(0, 2, 3), correction=0) + 0.5
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
    unit = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + eps)
    return unit * scale[:, None, None] + shift[:, None, None]


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _mish(x: Tensor) -> Tensor:
    return x * torch.tanh(f.softplus(x))


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _padded(x: Tensor, padding: tuple[int, int]) -> Tensor:
    return f.pad(x, (*padding, *padding))


def efficientnet(
    x: Tensor, state: State, prefix: str, variant: str, *, is_dynamic: bool = False
) -> Tensor:
    """Feature map; ``is_dynamic`` pads for the picture at hand, as these networks must not."""

    def conv(x: Tensor, name: str, *, kernel: int, stride: int, padding: tuple[int, int]) -> Tensor:
        if is_dynamic:
            missing = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)
            padding = (missing // 2, missing - missing // 2)
        weight = state[f"{name}.weight"]
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        return f.conv2d(_padded(x, padding), weight, stride=stride, groups=groups)

    def norm(x: Tensor, name: str) -> Tensor:
        return _norm(x, state, name, eps=1e-3)

    stem = conv(x, f"{prefix}_conv_stem", kernel=3, stride=2, padding=(0, 1))
    x = _swish(norm(stem, f"{prefix}_bn0"))
    for index, block in enumerate(efficientnet_blocks(variant)):
        inputs, outputs, kernel, stride, expansion, padding = block
        name, before = f"{prefix}_blocks.{index}.", x
        if expansion > 1:
            x = _swish(norm(f.conv2d(x, state[f"{name}_expand_conv.weight"]), f"{name}_bn0"))
        deep = conv(x, f"{name}_depthwise_conv", kernel=kernel, stride=stride, padding=padding)
        x = _swish(norm(deep, f"{name}_bn1"))
        weight = x.mean(dim=(2, 3), keepdim=True)
        for part, act in (("_se_reduce", _swish), ("_se_expand", torch.sigmoid)):
            tensors = (state[f"{name}{part}.weight"], state[f"{name}{part}.bias"])
            weight = act(f.conv2d(weight, *tensors))
        x = norm(f.conv2d(x * weight, state[f"{name}_project_conv.weight"]), f"{name}_bn2")
        if stride == 1 and inputs == outputs:
            x = x + before
    head = f.conv2d(x, state[f"{prefix}_conv_head.weight"])
    return _swish(norm(head, f"{prefix}_bn1"))


def legacy_z_score(features: Tensor, sex: Tensor, state: State, *, dense: int) -> Tensor:
    """Swish everywhere, on the pooled features, too."""
    pooled = _swish(features.mean(dim=(2, 3)))
    x = torch.cat([pooled, _swish(_linear(sex, state, "fc_gender_in"))], dim=1)
    for index in range(dense):
        x = _swish(_linear(x, state, f"dense_blocks.{index}"))
    return _linear(x, state, "fc_boneage").squeeze(1)


def new_z_score(features: Tensor, sex: Tensor, state: State) -> Tensor:
    """ReLU, and none on the pooled features."""
    pooled = features.mean(dim=(2, 3))
    x = pooled
    if "dense.fc_gender_in.weight" in state:
        x = torch.cat([pooled, _linear(sex, state, "dense.fc_gender_in").clamp(min=0)], dim=1)
    for index in range(2):
        x = _linear(x, state, f"dense.dense_blocks.{index}").clamp(min=0)
    return _linear(x, state, "dense.fc_boneage").squeeze(1)


def explicit_sex_logit(features: Tensor, state: State) -> Tensor:
    x = _linear(features.mean(dim=(2, 3)), state, "dense.explicit_sex_classifier.0")
    return _linear(x.clamp(min=0), state, "dense.fc_sex")


def inception(x: Tensor, state: State) -> Tensor:
    """Feature map of Inception-v3 with the other first layer."""

    def conv(x: Tensor, name: str, *, stride: int = 1, same: bool = True) -> Tensor:
        weight = state[f"features.{name}.conv.weight"]
        pad = (weight.shape[2] // 2, weight.shape[3] // 2) if same else 0
        x = f.conv2d(x, weight, stride=stride, padding=pad)
        return _norm(x, state, f"features.{name}.bn", eps=1e-3).clamp(min=0)

    def chain(x: Tensor, number: str, *names: str, last_stride: int = 1) -> Tensor:
        for name in names:
            is_last = name == names[-1] and last_stride > 1
            x = conv(x, f"{number}.{name}", stride=2 if is_last else 1, same=not is_last)
        return x

    def pooled(x: Tensor) -> Tensor:
        return f.avg_pool2d(x, 3, stride=1, padding=1)

    x = f.conv2d(x, state["features.0.weight"], state["features.0.bias"], stride=2)
    x = _norm(x, state, "features.1", eps=1e-5)
    x = conv(conv(x, "2", same=False), "3")
    x = f.max_pool2d(x, 3, stride=2)
    x = conv(conv(x, "5"), "6", same=False)
    x = f.max_pool2d(x, 3, stride=2)
    for n in ("8", "9", "10"):
        parts = [
            chain(x, n, "branch1x1"),
            chain(x, n, "branch5x5_1", "branch5x5_2"),
            chain(x, n, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            chain(pooled(x), n, "branch_pool"),
        ]
        x = torch.cat(parts, dim=1)
    double = ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
    parts = [
        chain(x, "11", "branch3x3", last_stride=2),
        chain(x, "11", *double, last_stride=2),
        f.max_pool2d(x, 3, stride=2),
    ]
    x = torch.cat(parts, dim=1)
    for n in ("12", "13", "14", "15"):
        parts = [
            chain(x, n, "branch1x1"),
            chain(x, n, *(f"branch7x7_{i}" for i in (1, 2, 3))),
            chain(x, n, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))),
            chain(pooled(x), n, "branch_pool"),
        ]
        x = torch.cat(parts, dim=1)
    parts = [
        chain(x, "16", "branch3x3_1", "branch3x3_2", last_stride=2),
        chain(x, "16", *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)), last_stride=2),
        f.max_pool2d(x, 3, stride=2),
    ]
    x = torch.cat(parts, dim=1)
    for n in ("17", "18"):
        third = chain(x, n, "branch3x3_1")
        double_third = chain(x, n, "branch3x3dbl_1", "branch3x3dbl_2")
        parts = [
            chain(x, n, "branch1x1"),
            *(chain(third, n, f"branch3x3_2{side}") for side in "ab"),
            *(chain(double_third, n, f"branch3x3dbl_3{side}") for side in "ab"),
            chain(pooled(x), n, "branch_pool"),
        ]
        x = torch.cat(parts, dim=1)
    return x


def inception_z_score(features: Tensor, sex: Tensor, state: State) -> Tensor:
    pooled = features.mean(dim=(2, 3))
    x = torch.cat([pooled, _linear(sex, state, "male_fc").clamp(min=0)], dim=1)
    x = _linear(x, state, "dense_blocks.0").clamp(min=0)
    return _linear(x, state, "fc_boneage").squeeze(1)


def mask_probability(x: Tensor, state: State) -> Tensor:
    """The mask network's probability of a hand."""

    def block(x: Tensor, name: str) -> Tensor:
        at = f"backbone.{name}."
        slope = state[f"{at}prelu.weight"]

        def step(x: Tensor, number: int) -> Tensor:
            weight = state[f"{at}conv{number}.weight"]
            pad = weight.shape[-1] // 2
            x = f.conv2d(x, weight, state[f"{at}conv{number}.bias"], padding=pad)
            return _norm(x, state, f"{at}bn{number + 1}", eps=1e-5)

        def prelu(x: Tensor) -> Tensor:
            return torch.where(x > 0, x, slope * x)

        if name == "encode1":
            first = step(_norm(x, state, f"{at}bn0", eps=1e-5), 0)
        else:
            first = torch.stack([x, step(prelu(x), 0)]).amax(dim=0)
        second = torch.stack([first, step(prelu(first), 1)]).amax(dim=0)
        return step(prelu(second), 2)

    kept = []
    for level in "1234":
        skip = block(x, f"encode{level}")
        x, places = f.max_pool2d(skip, 2, return_indices=True)
        kept.append((level, skip, places))
    x = block(x, "bottleneck")
    for level, skip, places in reversed(kept):
        put_back = f.max_unpool2d(x, places, [2, 2])
        x = block(torch.stack([put_back, skip]).amax(dim=0), f"decode{level}")
    at = "backbone.classifier.conv"
    logits = f.conv2d(x, state[f"{at}.weight"], state[f"{at}.bias"])
    return logits.exp()[:, 1] / logits.exp().sum(dim=1)


def boneage_predict(x: Tensor, sex: Tensor, state: State, *, pool: int) -> Tensor:
    """Months of boneAge_predict."""

    def norm(x: Tensor, name: str) -> Tensor:
        return _norm(x, state, name, eps=1e-5)

    root = "efficientnet_v2."
    stem = f.conv2d(x, state[f"{root}conv_stem.weight"], stride=2, padding=1)
    x = _swish(norm(stem, f"{root}bn1"))
    for name, kind, inputs, outputs, stride, expansion in v2_blocks():
        before = x
        if kind == "mobile":
            x = _swish(norm(f.conv2d(x, state[f"{name}conv_pw.weight"]), f"{name}bn1"))
            deep = f.conv2d(
                x,
                state[f"{name}conv_dw.weight"],
                stride=stride,
                padding=1,
                groups=inputs * expansion,
            )
            x = _swish(norm(deep, f"{name}bn2"))
            weight = x.mean(dim=(2, 3), keepdim=True)
            for part, act in (("se.conv_reduce", _swish), ("se.conv_expand", torch.sigmoid)):
                tensors = (state[f"{name}{part}.weight"], state[f"{name}{part}.bias"])
                weight = act(f.conv2d(weight, *tensors))
            x = norm(f.conv2d(x * weight, state[f"{name}conv_pwl.weight"]), f"{name}bn3")
        elif expansion == 1:
            plain = f.conv2d(x, state[f"{name}conv.weight"], stride=stride, padding=1)
            x = _swish(norm(plain, f"{name}bn1"))
        else:
            wide = f.conv2d(x, state[f"{name}conv_exp.weight"], stride=stride, padding=1)
            x = _swish(norm(wide, f"{name}bn1"))
            x = norm(f.conv2d(x, state[f"{name}conv_pwl.weight"]), f"{name}bn2")
        if stride == 1 and inputs == outputs:
            x = x + before
    x = _swish(norm(f.conv2d(x, state[f"{root}conv_head.weight"]), f"{root}bn2"))
    features = f.adaptive_avg_pool2d(x, pool).flatten(1)
    x = torch.cat([features, _mish(_linear(sex, state, "gender"))], dim=1)
    for name in ("fc_1", "fc_2"):
        x = _mish(_linear(x, state, name))
    return _linear(x, state, "fc_3").squeeze(1)


def bone_age_convnext(x: Tensor, is_girl: Tensor, state: State, prefix: str) -> Tensor:
    """Months of one network of ianpan/bone-age; ``x`` holds 0 to 255."""

    def at(name: str) -> tuple[Tensor, Tensor]:
        return state[f"{prefix}{name}.weight"], state[f"{prefix}{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias = at(name)
        last = x.permute(0, 2, 3, 1)
        return f.layer_norm(last, (last.shape[-1],), weight, bias, 1e-6).permute(0, 3, 1, 2)

    second = torch.ones_like(x) * is_girl.reshape(-1, 1, 1, 1) * 255
    x = (torch.cat([x, second], dim=1) / 255 - 0.5) * 2
    x = norm(f.conv2d(x, *at("backbone.stem.0"), stride=4), "backbone.stem.1")
    for stage, (blocks, channels) in enumerate(CONVNEXT_TINY):
        name = f"backbone.stages.{stage}."
        if stage:
            x = f.conv2d(norm(x, f"{name}downsample.0"), *at(f"{name}downsample.1"), stride=2)
        for index in range(blocks):
            block = f"{name}blocks.{index}."
            deep = f.conv2d(x, *at(f"{block}conv_dw"), padding=3, groups=channels)
            y = norm(deep, f"{block}norm").permute(0, 2, 3, 1)
            weight, bias = at(f"{block}mlp.fc1")
            y = f.gelu(y @ weight.T + bias)
            strength = y.pow(2).sum(dim=(1, 2), keepdim=True).sqrt()
            relative = strength / (strength.mean(dim=-1, keepdim=True) + 1e-6)
            weight, bias = at(f"{block}mlp.grn")
            y = y + weight * (y * relative) + bias
            weight, bias = at(f"{block}mlp.fc2")
            x = x + (y @ weight.T + bias).permute(0, 3, 1, 2)
    x = norm(x, "backbone.head.norm")
    p = state[f"{prefix}pooling.p"]
    pooled = x.clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)
    weight, bias = at("linear")
    shares = (pooled @ weight.T + bias).softmax(dim=1)
    return (shares * torch.arange(240)).sum(dim=1)
