"""The one place that builds the networks of others."""

from torch import nn

from models.networks.boneage_predict import BACKBONES, boneage_predict_trunk
from models.networks.boneage_predict import FEATURES as EFFICIENTNET_V2_FEATURES
from models.networks.convnext_distribution import ConvNextDistribution
from models.networks.deeplasia_efficientnet import VARIANTS, EfficientNetTrunk, head_width
from models.networks.deeplasia_inception import FEATURES as INCEPTION_FEATURES
from models.networks.deeplasia_inception import InceptionTrunk
from models.networks.dense_head import ACTIVATIONS, DenseHead, DenseHeadNetwork
from models.networks.interface import AgeNetwork
from schemas.errors import PermanentError
from schemas.releases import ImportedNetwork

DEEPLASIA_EFFICIENTNET = "deeplasia-efficientnet-"
DEEPLASIA_INCEPTION = "deeplasia-inception-v3"
BONEAGE_PREDICT = "boneage-predict-efficientnetv2-"
CONVNEXT_DISTRIBUTION = "convnextv2-tiny-distribution"
#: every architecture that weights of others may be imported into
IMPORTED_ARCHITECTURES = (
    *(f"{DEEPLASIA_EFFICIENTNET}{variant}" for variant in VARIANTS),
    DEEPLASIA_INCEPTION,
    *(f"{BONEAGE_PREDICT}{variant}" for variant in BACKBONES),
    CONVNEXT_DISTRIBUTION,
)


class UnknownImportError(PermanentError):
    """A manifest names an imported network that this version cannot build."""

    code = "release.imported_architecture"

    def __init__(self, *, found: str) -> None:
        super().__init__(
            f"No network of others called {found!r} is known here; known are "
            f"{', '.join(IMPORTED_ARCHITECTURES)}, with the activations {', '.join(ACTIVATIONS)}. "
            "Import the checkpoint again with this version: `boneage release import`."
        )


def _trunk(architecture: str) -> tuple[nn.Module, int]:
    """Return an untrained trunk and the channels of its last feature map."""
    if architecture == DEEPLASIA_INCEPTION:
        return InceptionTrunk(), INCEPTION_FEATURES
    if architecture.startswith(DEEPLASIA_EFFICIENTNET):
        variant = architecture.removeprefix(DEEPLASIA_EFFICIENTNET)
        return EfficientNetTrunk(variant), head_width(variant)
    variant = architecture.removeprefix(BONEAGE_PREDICT)
    return boneage_predict_trunk(variant), EFFICIENTNET_V2_FEATURES


def build_imported(
    architecture: str,
    *,
    sex_features: int,
    age_mean_months: float,
    age_sd_months: float,
    shape: ImportedNetwork,
) -> AgeNetwork:
    """Return an untrained network of others.

    Args:
        architecture: one of ``IMPORTED_ARCHITECTURES``.
        sex_features: width of the sex branch; 0: the sex is not used.
        age_mean_months: of the training ages, if the output is a z-score; otherwise 0.
        age_sd_months: of the training ages, if the output is a z-score; otherwise 1.
        shape: the head, and the authors' correction.

    Raises:
        UnknownImportError: architecture or activation are not known.
    """
    is_known = architecture in IMPORTED_ARCHITECTURES and shape.activation in ACTIVATIONS
    if not is_known:
        raise UnknownImportError(found=f"{architecture} with {shape.activation}")
    if architecture == CONVNEXT_DISTRIBUTION:
        return ConvNextDistribution()
    trunk, channels = _trunk(architecture)
    head = DenseHead(channels=channels, sex_features=sex_features, shape=shape)
    return DenseHeadNetwork(
        trunk,
        head,
        age_mean_months=age_mean_months,
        age_sd_months=age_sd_months,
        shape=shape,
    )
