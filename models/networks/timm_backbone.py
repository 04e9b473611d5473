"""A timm backbone for grey images with a sex branch beside the pooled features."""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.networks.interface import AgeNetwork

#: input pixels to a cell of the map that heatmaps are made from, each way
HEATMAP_REDUCTION = 16


class BoneAgeNetwork(AgeNetwork):
    """Image and sex in, months out.

    The two halves are methods of their own, so that a heatmap needs a backward pass through the
    head alone: ``months = head(features(image), sex)``. The cut lies where a cell still stands for
    its own place. In the last map of an EfficientNet it does not: with 128 px inputs most of the
    months stood in one corner cell, on empty air (measured; models/EXPERIMENTS.md).
    """

    def __init__(
        self,
        backbone: str,
        *,
        age_mean_months: float,
        age_sd_months: float,
        hidden_features: int,
        sex_features: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.age_mean_months = age_mean_months
        self.age_sd_months = age_sd_months
        self.backbone = timm.create_model(backbone, in_chans=1, num_classes=0, global_pool="")
        channels: int = self.backbone.num_features  # type: ignore[assignment]  # timm's own int
        self._cut = _blocks_up_to(self.backbone, reduction=HEATMAP_REDUCTION)
        self.sex_branch = nn.Sequential(nn.Linear(1, sex_features), nn.ReLU())
        self.regressor = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels + sex_features, hidden_features),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_features, 1),
        )

    def features(self, image: Tensor) -> Tensor:
        """Return the feature map at the cut.

        Args:
            image: ``(batch, 1, height, width)`` float32, normalised by the release's rule.

        Returns:
            ``(batch, channels, rows, columns)``; one cell for each 16 input pixels of a backbone
            in blocks (EfficientNet and its kin), for each 32 of any other.
        """
        backbone: Any = self.backbone
        if self._cut is None:
            whole: Tensor = backbone(image)
            return whole
        feature_map: Tensor = backbone.blocks[: self._cut](backbone.bn1(backbone.conv_stem(image)))
        return feature_map

    def head(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        """Return months from a feature map.

        Args:
            feature_map: ``(batch, channels, rows, columns)`` from ``features``.
            sex: ``(batch, 1)`` float32, 1.0 male, 0.0 female. There is no third value.

        Returns:
            ``(batch,)`` float32, months.
        """
        pooled = self._after_cut(feature_map).float().mean(dim=(2, 3))  # (B, C)
        joined = torch.cat([pooled, self.sex_branch(sex)], dim=1)  # (B, C + S)
        z_score: Tensor = self.regressor(joined).squeeze(1)  # (B,)
        return z_score * self.age_sd_months + self.age_mean_months

    def _after_cut(self, feature_map: Tensor) -> Tensor:
        if self._cut is None:
            return feature_map
        backbone: Any = self.backbone
        last: Tensor = backbone.bn2(backbone.conv_head(backbone.blocks[self._cut :](feature_map)))
        return last

    def forward(self, image: Tensor, sex: Tensor) -> Tensor:
        """Return months, ``(batch,)``, from image ``(batch, 1, h, w)`` and sex ``(batch, 1)``."""
        return self.head(self.features(image), sex)


def _blocks_up_to(backbone: nn.Module, *, reduction: int) -> int | None:
    """Return how many blocks lie before the map falls below ``1 / reduction`` of the input.

    ``None`` for a backbone that is not a stem, a row of blocks and a last convolution.
    """
    parts = {name for name, _ in backbone.named_children()}
    if not {"conv_stem", "bn1", "blocks", "conv_head", "bn2"} <= parts:
        return None
    stages: Any = backbone.feature_info
    modules = [stage["module"] for stage in stages if stage["reduction"] <= reduction]
    return int(modules[-1].removeprefix("blocks.")) + 1
