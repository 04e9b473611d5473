"""The networks of `ianpan/bone-age`: ConvNeXtV2-tiny with a distribution over 240 months.

As its public model card and the programs that use it describe it: picture and sex are two input
channels of 0 to 255 (the sex a constant one, 255 for a girl), features are pooled by a generalised
mean, and the age is the expectation of a softmax over the months 0 to 239. The card does not give
the input scale; -1 to 1 is assumed here, and an imported release says so.
"""

import timm
import torch
from torch import Tensor, nn

from models.networks.interface import AgeNetwork

MONTHS = 240
_FEATURES = 768
_LEAST = 1e-6  #: features below it count as this much; a power of a negative number has no value
_WHITE = 255.0


class GeneralisedMean(nn.Module):
    """The mean of powers, with a learnt exponent (Radenović et al. 2017, arXiv 1711.02512)."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return ``(batch, channels)`` from ``(batch, channels, rows, columns)``."""
        powers = feature_map.clamp(min=_LEAST) ** self.p
        mean: Tensor = powers.mean(dim=(2, 3)) ** (1.0 / self.p)
        return mean


class ConvNextDistribution(AgeNetwork):
    """One member of the three."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            "convnextv2_tiny", in_chans=2, num_classes=0, global_pool=""
        )
        self.pooling = GeneralisedMean()
        self.linear = nn.Linear(_FEATURES, MONTHS)

    def features(self, image: Tensor) -> Tensor:
        """Return the feature maps of both sexes, a girl's first, joined along the channels.

        The sex enters with the picture, so one map cannot serve both: the trunk runs twice.
        """
        maps = []
        for level in (_WHITE, 0.0):
            both = torch.cat([image, torch.full_like(image, level)], dim=1)
            maps.append(self.backbone(both / _WHITE * 2.0 - 1.0))
        return torch.cat(maps, dim=1)

    def head(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        """Return the expected month, ``(batch,)``, of the map that belongs to the sex."""
        girl, boy = feature_map.float().chunk(2, dim=1)
        is_boy = sex.reshape(-1, 1, 1, 1) > 0.5  # noqa: PLR2004 - halfway between the two codes
        logits = self.linear(self.pooling(torch.where(is_boy, boy, girl)))
        months = torch.arange(MONTHS, dtype=logits.dtype, device=logits.device)
        expected: Tensor = (logits.softmax(dim=1) * months).sum(dim=1)
        return expected
