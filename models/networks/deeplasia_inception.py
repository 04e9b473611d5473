"""Inception-v3 (Szegedy et al. 2015, arXiv 1512.00567) as Deeplasia's checkpoints need it.

The layers stand in one sequence, numbered as in the checkpoints. The first convolution is another
one: a single grey channel, with a bias, followed by batch norm and by no activation.
"""

from typing import cast

from torch import Tensor, nn
from torchvision.models import inception_v3

FEATURES = 2048
_FIRST_CHANNELS = 32
#: the layers of the published network that follow the first convolution, in their order
_LAYERS = (
    *("Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d"),
    *("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)


class InceptionTrunk(nn.Module):
    """A grey picture in, the last feature map out, ``(batch, 2048, rows, columns)``."""

    def __init__(self) -> None:
        super().__init__()
        published = inception_v3(weights=None, aux_logits=False, init_weights=False)
        first = nn.Conv2d(1, _FIRST_CHANNELS, 3, stride=2)
        norm = nn.BatchNorm2d(_FIRST_CHANNELS)
        others = [cast("nn.Module", getattr(published, name)) for name in _LAYERS]
        self.layers = nn.Sequential(first, norm, *others)

    def forward(self, image: Tensor) -> Tensor:
        """Return the last feature map."""
        feature_map: Tensor = self.layers(image)
        return feature_map
