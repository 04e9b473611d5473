"""The networks, one file a family."""

from models.networks.classifier import ClassNetwork
from models.networks.interface import AgeNetwork
from models.networks.registry import build_network
from models.networks.timm_backbone import BackboneShape, BoneAgeNetwork

__all__ = ["AgeNetwork", "BackboneShape", "BoneAgeNetwork", "ClassNetwork", "build_network"]
