"""The one place that turns an architecture's name into a network."""

from models.networks.imported import build_imported
from models.networks.interface import AgeNetwork
from models.networks.timm_backbone import BackboneShape, BoneAgeNetwork
from schemas.releases import Member, NetworkHead


def build_network(
    architecture: str,
    *,
    age_mean_months: float,
    age_sd_months: float,
    head: NetworkHead | None = None,
    dropout: float = 0.0,
) -> BoneAgeNetwork:
    """Return an untrained network for grey images.

    Args:
        architecture: any name of timm's.
        age_mean_months: mean age of the training children; the network's output is a z-score.
        age_sd_months: standard deviation of their ages.
        head: what lies behind the backbone.
        dropout: share dropped before each layer behind the backbone while training.

    Raises:
        UnknownArchitectureError: timm has no such network, or it makes no feature map.
    """
    return BoneAgeNetwork(
        BackboneShape(architecture=architecture),
        head or NetworkHead(),
        age_mean_months=age_mean_months,
        age_sd_months=age_sd_months,
        dropout=dropout,
    )


def head_of(member: Member) -> NetworkHead:
    """Return what lies behind a member's backbone; older manifests name two widths alone."""
    widths = NetworkHead(
        dense_features=(member.hidden_features,), sex_features=member.sex_features or 1
    )
    return member.head or widths


def build_member(member: Member) -> AgeNetwork:
    """Return the untrained network that a manifest's member describes.

    Raises:
        UnknownArchitectureError: timm has no such network, or it makes no feature map.
        UnknownImportError: the name is not known among the networks of others.
    """
    if member.imported is not None:
        return build_imported(
            member.architecture,
            sex_features=member.sex_features,
            age_mean_months=member.age_mean_months,
            age_sd_months=member.age_sd_months,
            shape=member.imported,
        )
    return build_network(
        member.architecture,
        age_mean_months=member.age_mean_months,
        age_sd_months=member.age_sd_months,
        head=head_of(member),
    )
