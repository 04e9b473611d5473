"""The networks, one file a family."""

from models.networks.registry import build_network
from models.networks.timm_backbone import BoneAgeNetwork

__all__ = ["BoneAgeNetwork", "build_network"]
