"""What every network of a release can do, wherever it comes from."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class AgeNetwork(nn.Module, ABC):
    """Image and sex in, months out.

    The two halves are methods of their own, so that a heatmap needs a backward pass through the
    head alone: ``months = head(features(image), sex)``.
    """

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """Return the last feature map.

        Args:
            image: ``(batch, 1, height, width)`` float32, made by the member's own rule.

        Returns:
            ``(batch, channels, rows, columns)``; one cell for each 32 input pixels.
        """

    @abstractmethod
    def head(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        """Return months from a feature map.

        Args:
            feature_map: ``(batch, channels, rows, columns)``.
            sex: ``(batch, 1)`` float32, 1.0 male, 0.0 female. There is no third value.

        Returns:
            ``(batch,)`` float32, months.
        """

    def forward(self, image: Tensor, sex: Tensor) -> Tensor:
        """Return months, ``(batch,)``, from image ``(batch, 1, h, w)`` and sex ``(batch, 1)``."""
        return self.head(self.features(image), sex)
