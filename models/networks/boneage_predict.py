"""The trunk of boneAge_predict: timm's EfficientNetV2 for grey pictures, pooled finely later."""

import timm
from torch import nn

#: variant → timm's name; both have 1280 channels in the last feature map
BACKBONES = {"s": "efficientnetv2_s", "m": "efficientnetv2_m"}
FEATURES = 1280


def boneage_predict_trunk(variant: str) -> nn.Module:
    """Return an untrained trunk, ``variant`` being one of ``BACKBONES``."""
    trunk: nn.Module = timm.create_model(
        BACKBONES[variant], in_chans=1, num_classes=0, global_pool=""
    )
    return trunk
