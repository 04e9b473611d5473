"""A timm backbone for grey images with a sex branch beside the pooled features."""

import timm
import torch
from torch import Tensor, nn


class BoneAgeNetwork(nn.Module):
    """Image and sex in, months out.

    The two halves are methods of their own, so that a heatmap needs a backward pass through the
    head alone: ``months = head(features(image), sex)``.
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
        self.sex_branch = nn.Sequential(nn.Linear(1, sex_features), nn.ReLU())
        self.regressor = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels + sex_features, hidden_features),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_features, 1),
        )

    def features(self, image: Tensor) -> Tensor:
        """Return the last feature map.

        Args:
            image: ``(batch, 1, height, width)`` float32, normalised by the release's rule.

        Returns:
            ``(batch, channels, rows, columns)``; one cell for each 32 input pixels.
        """
        feature_map: Tensor = self.backbone(image)
        return feature_map

    def head(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        """Return months from a feature map.

        Args:
            feature_map: ``(batch, channels, rows, columns)``.
            sex: ``(batch, 1)`` float32, 1.0 male, 0.0 female. There is no third value.

        Returns:
            ``(batch,)`` float32, months.
        """
        pooled = feature_map.float().mean(dim=(2, 3))  # (B, C)
        joined = torch.cat([pooled, self.sex_branch(sex)], dim=1)  # (B, C + S)
        z_score: Tensor = self.regressor(joined).squeeze(1)  # (B,)
        return z_score * self.age_sd_months + self.age_mean_months

    def forward(self, image: Tensor, sex: Tensor) -> Tensor:
        """Return months, ``(batch,)``, from image ``(batch, 1, h, w)`` and sex ``(batch, 1)``."""
        return self.head(self.features(image), sex)
