"""A timm backbone for grey images, and what lies behind it: sex branch, layers, months."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.interface import AgeNetwork
from models.networks.steps import CutBackbone, cut_backbone, run_steps, whole_map
from schemas.errors import PermanentError
from schemas.releases import NetworkHead, SexMode

#: input pixels to a cell of the map that heatmaps are made from, each way
HEATMAP_REDUCTION = 16
#: months that a distribution has a probability for, 0 to 239; no label of the data is older
DISTRIBUTION_MONTHS = 240

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "swish": nn.SiLU, "mish": nn.Mish}
#: what networks with a fixed input size need to read other sizes; tried in this order
_SIZE_OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"dynamic_img_size": True},
    {"strict_img_size": False, "always_partition": True},
)


class UnknownArchitectureError(PermanentError):
    """A manifest or a recipe names a network that this version cannot build."""

    code = "release.architecture"

    def __init__(self, *, found: str) -> None:
        similar = timm.list_models(f"*{found[:8]}*")[:5]
        known = f"similar names are {', '.join(similar)}" if similar else "see timm.list_models()"
        super().__init__(
            f"There is no architecture {found!r} in timm {timm.__version__} that makes a feature "
            f"map; {known}. Correct the name, or install the version of timm that has it."
        )


class NoAgeError(PermanentError):
    """A network that predicts the sex alone was asked for an age."""

    code = "estimate.no_age"

    def __init__(self) -> None:
        super().__init__(
            'This network was trained with sex = "only": it says how probably a hand is a boy\'s, '
            "and no age. Nothing was predicted. Use it with `boneage train`, not in a release."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeOutputs:
    """All that a network says about a batch; what it was not built to say is None."""

    months: Tensor | None  #: ``(batch,)``
    month_logits: Tensor | None  #: ``(batch, DISTRIBUTION_MONTHS)``
    sex_logit: Tensor | None  #: ``(batch,)``; above 0 is male


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneShape:
    """Which backbone, and how it is kept from learning by heart."""

    architecture: str  #: a name of timm
    channels: int = 1  #: of the input
    drop_path: float = 0.0  #: share of residual branches left out while training


def create_backbone(shape: BackboneShape) -> tuple[nn.Module, CutBackbone]:
    """Return an untrained backbone without classifier, and where it is cut.

    Raises:
        UnknownArchitectureError: timm has no such network, or it makes no feature map.
    """
    if not timm.is_model(shape.architecture):  # and not "hf-hub:…": nothing is fetched
        raise UnknownArchitectureError(found=shape.architecture)
    regularised: dict[str, Any] = {"drop_path_rate": shape.drop_path} if shape.drop_path else {}
    for options in _SIZE_OPTIONS:
        try:
            backbone = timm.create_model(
                shape.architecture,
                in_chans=shape.channels,
                num_classes=0,
                global_pool="",
                **regularised,
                **options,
            )
            cut = cut_backbone(backbone, channels_in=shape.channels, reduction=HEATMAP_REDUCTION)
        except (TypeError, AssertionError, AttributeError, RuntimeError):
            continue
        return backbone, cut
    raise UnknownArchitectureError(found=shape.architecture)


def dense_layers(
    sizes: Sequence[int], *, activation: str, dropout: float, first_dropout: bool = True
) -> nn.Sequential:
    """Return dropout, linear, activation … linear; the last layer has no activation."""
    layers: list[nn.Module] = [nn.Dropout(dropout)] if first_dropout else []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        if index:
            layers += [ACTIVATIONS[activation](), nn.Dropout(dropout)]
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


class BoneAgeNetwork(AgeNetwork):
    """Image and sex in, months out.

    The two halves are methods of their own, so that a heatmap needs a backward pass through the
    head alone: ``months = head(features(image), sex)``. The cut lies where a cell still stands for
    its own place. In the last map of an EfficientNet it does not: with 128 px inputs most of the
    months stood in one corner cell, on empty air (measured; models/EXPERIMENTS.md).
    """

    def __init__(
        self,
        shape: BackboneShape,
        head: NetworkHead,
        *,
        age_mean_months: float,
        age_sd_months: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.age_mean_months = age_mean_months
        self.age_sd_months = age_sd_months
        self.shape = head
        self.backbone, self._cut = create_backbone(shape)
        pooled = self._cut.channels * head.pool**2
        beside = 0
        if head.sex in _SEX_GOES_IN:
            beside = head.sex_features
            self.sex_branch = nn.Sequential(nn.Linear(1, beside), ACTIVATIONS[head.activation]())
        if head.sex is not SexMode.ONLY:
            outputs = DISTRIBUTION_MONTHS if head.distribution else 1
            self.regressor = dense_layers(
                (pooled + beside, *head.dense_features, outputs),
                activation=head.activation,
                dropout=dropout,
            )
        if head.sex in _SEX_COMES_OUT:
            shared = head.sex is SexMode.IMPLICIT and bool(head.dense_features)
            inputs = head.dense_features[-1] if shared else pooled
            widths = () if shared else head.sex_classifier
            self.sex_classifier = dense_layers(
                (inputs, *widths, 1), activation=head.activation, dropout=dropout
            )

    def features(self, image: Tensor) -> Tensor:
        """Return the feature map at the cut.

        Args:
            image: ``(batch, channels, height, width)`` float32, made by the member's own rule.

        Returns:
            ``(batch, channels, rows, columns)``; one cell for each 16 input pixels wherever the
            backbone can be cut there, for each 32 otherwise.
        """
        if not self._cut.before:
            return whole_map(self.backbone, image)
        return run_steps(self.backbone, self._cut.before, image)

    def head(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        """Return months from a feature map.

        Args:
            feature_map: ``(batch, channels, rows, columns)`` from ``features``.
            sex: ``(batch, 1)`` float32, 1.0 male, 0.0 female. There is no third value.

        Returns:
            ``(batch,)`` float32, months.

        Raises:
            NoAgeError: the network predicts the sex alone.
        """
        months = self.outputs(feature_map, sex).months
        if months is None:
            raise NoAgeError
        return months

    def outputs(self, feature_map: Tensor, sex: Tensor) -> AgeOutputs:
        """Return months, their distribution and the sex, as far as the network says them."""
        last = run_steps(self.backbone, self._cut.after, feature_map).float()
        if self.shape.pool == 1:
            pooled = last.mean(dim=(2, 3))  # (B, C)
        else:
            pooled = functional.adaptive_avg_pool2d(last, self.shape.pool).flatten(1)  # (B, C*P*P)
        if self.shape.sex is SexMode.ONLY:
            return AgeOutputs(months=None, month_logits=None, sex_logit=self._sex_logit(pooled))
        sex_logit = self._sex_logit(pooled) if self.shape.sex in _EXPLICIT else None
        if self.shape.sex is SexMode.EXPLICIT_PREDICTED and sex_logit is not None:
            sex = sex_logit.detach().sigmoid().unsqueeze(1)  # (B, 1)
        joined = pooled
        if self.shape.sex in _SEX_GOES_IN:
            joined = torch.cat([pooled, self.sex_branch(sex)], dim=1)
        hidden = self.regressor[:-1](joined)
        if self.shape.sex is SexMode.IMPLICIT:
            sex_logit = self._sex_logit(hidden if self.shape.dense_features else pooled)
        return self._with_months(self.regressor[-1](hidden), sex_logit)

    def _with_months(self, numbers: Tensor, sex_logit: Tensor | None) -> AgeOutputs:
        if not self.shape.distribution:
            months = numbers.squeeze(1) * self.age_sd_months + self.age_mean_months
            return AgeOutputs(months=months, month_logits=None, sex_logit=sex_logit)
        ages = torch.arange(DISTRIBUTION_MONTHS, device=numbers.device, dtype=torch.float32)
        months = numbers.float().softmax(dim=1) @ ages  # (B,)
        return AgeOutputs(months=months, month_logits=numbers, sex_logit=sex_logit)

    def _sex_logit(self, values: Tensor) -> Tensor:
        logit: Tensor = self.sex_classifier(values).squeeze(1)  # (B,)
        return logit


_EXPLICIT = (SexMode.EXPLICIT_TRUE, SexMode.EXPLICIT_PREDICTED)
_SEX_GOES_IN = (SexMode.INPUT, *_EXPLICIT)
_SEX_COMES_OUT = (*_EXPLICIT, SexMode.IMPLICIT, SexMode.ONLY)
