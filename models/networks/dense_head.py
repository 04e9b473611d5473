"""The head that Deeplasia and boneAge_predict share: pooled features and sex, dense layers, months.

Both join the pooled features with a small sex branch and put dense layers behind; they differ in
widths, in the activation and in how finely the feature map is pooled. Deeplasia's output is a
z-score of the training children's ages, boneAge_predict's is months.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.interface import AgeNetwork
from schemas.releases import ImportedNetwork

ACTIVATIONS = {"relu": functional.relu, "swish": functional.silu, "mish": functional.mish}


def _layers(inputs: int, widths: Sequence[int]) -> nn.ModuleList:
    sizes = [inputs, *widths]
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))


class DenseHead(nn.Module):
    """Pooled features and sex in, one number out. Dropout is left out: it does nothing here."""

    def __init__(self, *, channels: int, sex_features: int, shape: ImportedNetwork) -> None:
        """``channels``: of the feature map; ``sex_features`` 0: the sex is not used."""
        super().__init__()
        self._shape = shape
        self._activation = ACTIVATIONS[shape.activation]
        pooled = channels * shape.pool**2
        self.sex_in = nn.Linear(1, sex_features) if sex_features else None
        self.dense = _layers(pooled + sex_features, shape.dense_features)
        self.out = nn.Linear([pooled + sex_features, *shape.dense_features][-1], 1)
        if shape.sex_classifier is not None:
            self.sex_dense = _layers(pooled, shape.sex_classifier)
            self.sex_out = nn.Linear([pooled, *shape.sex_classifier][-1], 1)

    def forward(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        """Return ``(batch,)`` from ``(batch, channels, rows, columns)`` and ``(batch, 1)``."""
        pooled = functional.adaptive_avg_pool2d(feature_map.float(), self._shape.pool).flatten(1)
        if self._shape.activate_pooled:
            pooled = self._activation(pooled)
        values = pooled
        if self.sex_in is not None:
            told = sex if self._shape.sex_classifier is None else self._predicted_sex(pooled)
            values = torch.cat([pooled, self._activation(self.sex_in(told))], dim=1)
        for layer in self.dense:
            values = self._activation(layer(values))
        number: Tensor = self.out(values).squeeze(1)
        return number

    def _predicted_sex(self, pooled: Tensor) -> Tensor:
        """Return the classifier's logit, ``(batch, 1)``; the age was trained on it as it is."""
        values = pooled
        for layer in self.sex_dense:
            values = self._activation(layer(values))
        logit: Tensor = self.sex_out(values)
        return logit.detach()


class DenseHeadNetwork(AgeNetwork):
    """A trunk that makes a feature map, and a ``DenseHead`` that reads it."""

    def __init__(
        self,
        trunk: nn.Module,
        head: DenseHead,
        *,
        age_mean_months: float,
        age_sd_months: float,
        shape: ImportedNetwork,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.dense_head = head
        self.age_mean_months = age_mean_months
        self.age_sd_months = age_sd_months
        self._shape = shape

    def features(self, image: Tensor) -> Tensor:
        """Return the last feature map of the trunk."""
        feature_map: Tensor = self.trunk(image)
        return feature_map

    def head(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        """Return months, ``(batch,)``, with the authors' linear correction applied."""
        number = self.dense_head(feature_map, sex)
        months: Tensor = number * self.age_sd_months + self.age_mean_months
        bias = self._shape.bias_slope * months + self._shape.bias_intercept_months
        return months - bias
