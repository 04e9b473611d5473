"""The networks, one file a family."""

from models.networks.interface import AgeNetwork
from models.networks.registry import build_network
from models.networks.timm_backbone import BoneAgeNetwork

__all__ = ["AgeNetwork", "BoneAgeNetwork", "build_network"]
