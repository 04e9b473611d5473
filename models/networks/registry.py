"""The one place that turns an architecture's name into a network."""

from models.networks.imported import build_imported
from models.networks.interface import AgeNetwork
from models.networks.timm_backbone import BoneAgeNetwork
from schemas.errors import PermanentError
from schemas.releases import Member

#: architectures that releases and recipes may name; each is a timm backbone of the same name
ARCHITECTURES = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "resnet10t",  # small and quick; what the tests use
)


class UnknownArchitectureError(PermanentError):
    """A manifest or a recipe names a network that this version cannot build."""

    code = "release.architecture"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            f"There is no architecture {found!r} here; known are {', '.join(ARCHITECTURES)}. "
            "Correct the recipe, or install the version of the software that the release needs."
        )


def build_network(
    architecture: str,
    *,
    age_mean_months: float,
    age_sd_months: float,
    hidden_features: int = 256,
    sex_features: int = 32,
    dropout: float = 0.0,
) -> BoneAgeNetwork:
    """Return an untrained network.

    Args:
        architecture: one of ``ARCHITECTURES``.
        age_mean_months: mean age of the training children; the network's output is a z-score.
        age_sd_months: standard deviation of their ages.
        hidden_features: width of the layer between features and months.
        sex_features: width of the sex branch.
        dropout: share dropped before and after the hidden layer while training.

    Raises:
        UnknownArchitectureError: the name is not known.
    """
    if architecture not in ARCHITECTURES:
        raise UnknownArchitectureError(found=architecture)
    return BoneAgeNetwork(
        architecture,
        age_mean_months=age_mean_months,
        age_sd_months=age_sd_months,
        hidden_features=hidden_features,
        sex_features=sex_features,
        dropout=dropout,
    )


def build_member(member: Member) -> AgeNetwork:
    """Return the untrained network that a manifest's member describes.

    Raises:
        UnknownArchitectureError: the name is not known.
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
        hidden_features=member.hidden_features,
        sex_features=member.sex_features,
    )
