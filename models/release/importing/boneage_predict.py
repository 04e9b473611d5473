"""boneAge_predict: EfficientNetV2 with a finely pooled head, months as they are."""

import math
import re

from models.networks.boneage_predict import FEATURES
from models.networks.imported import BONEAGE_PREDICT
from models.release.importing.converted import (
    ConvertedMember,
    ImportOptions,
    Tensors,
    fitted_member,
    renamed,
    safe_name,
)
from models.release.importing.errors import MissingTensorsError
from models.release.importing.unpickle import Checkpoint
from schemas.releases import (
    Averaging,
    Framing,
    ImportedNetwork,
    MemberPreprocessing,
    Scaling,
    Subtraction,
)

LICENCE = (
    "Not stated by the authors of boneAge_predict; trained on the RSNA Pediatric Bone Age images: "
    "non-commercial research and education only."
)
ORIGIN = "boneAge_predict, imported"
LAYOUT = "boneAge_predict's EfficientNetV2"
_INPUT_SIZE = 500
_CLAHE_CLIP = 15.0
_CROP_SHARE = 470 / 500  #: its tests average five crops of 470 pixels
#: the stage that tells the two apart: the small one ends with stage 5, the medium with stage 6
_MEDIUM_ONLY = "trunk.blocks.6.0."

_RULES = (
    (r"^efficientnet_v2\.", "trunk."),
    (r"^gender\.(?:\d+\.)?(weight|bias)$", r"dense_head.sex_in.\1"),
    (r"^fc_1\.(?:\d+\.)?(weight|bias)$", r"dense_head.dense.0.\1"),
    (r"^fc_2\.(?:\d+\.)?(weight|bias)$", r"dense_head.dense.1.\1"),
    (r"^fc_3\.(?:\d+\.)?(weight|bias)$", r"dense_head.out.\1"),
)
_UNUSED = re.compile(r"^efficientnet_v2\.classifier\.")


def is_boneage_predict(tensors: Tensors) -> bool:
    """Say whether the names are those of boneAge_predict."""
    return any(name.startswith("efficientnet_v2.") for name in tensors)


def _shape(tensors: Tensors, checkpoint: Checkpoint, *, variant: str) -> ImportedNetwork:
    """Return the head's shape, read from its tensors.

    Raises:
        MissingTensorsError: a layer of the head is missing, or has an impossible width.
    """
    try:
        first, second = (tensors[f"dense_head.dense.{index}.weight"] for index in (0, 1))
        sex_features = int(tensors["dense_head.sex_in.weight"].shape[0])
    except KeyError as error:
        raise MissingTensorsError(
            path=checkpoint.path, layout=LAYOUT, problem=f"{error.args[0]} is missing"
        ) from error
    cells = (int(first.shape[1]) - sex_features) / FEATURES
    pool = math.isqrt(int(cells))
    if pool * pool != cells or pool < 1:
        raise MissingTensorsError(
            path=checkpoint.path,
            layout=LAYOUT,
            problem=f"its first dense layer takes {first.shape[1]} numbers",
        )
    return ImportedNetwork(
        dense_features=(int(first.shape[0]), int(second.shape[0])),
        activation="mish" if variant == "s" else "swish",
        pool=pool,
    )


def convert_boneage_predict(checkpoint: Checkpoint, *, options: ImportOptions) -> ConvertedMember:
    """Return a boneAge_predict network as a member.

    Raises:
        MissingTensorsError: tensors are missing, left over or of another shape.
    """
    used = {name: value for name, value in checkpoint.tensors.items() if not _UNUSED.search(name)}
    tensors = renamed(used, _RULES)
    variant = "m" if any(name.startswith(_MEDIUM_ONLY) for name in tensors) else "s"
    shape = _shape(tensors, checkpoint, variant=variant)
    sex_features = int(tensors["dense_head.sex_in.weight"].shape[0])
    size = options.input_size or _INPUT_SIZE
    crop = round(_CROP_SHARE * size) if options.has_test_views else size
    member = ConvertedMember(
        name=safe_name(checkpoint.path),
        origin=ORIGIN,
        architecture=f"{BONEAGE_PREDICT}{variant}",
        input_size=crop,
        averaging=Averaging.FIVE_CROPS if options.has_test_views else Averaging.NONE,
        crop_share=crop / size,
        sex_features=sex_features,
        age_mean_months=0.0,
        age_sd_months=1.0,
        preprocessing=MemberPreprocessing(
            subtract=Subtraction.MEAN,
            clahe_clip=_CLAHE_CLIP,
            framing=Framing.PAD,
            antialiased=True,
            scaling=Scaling.GREY_LEVELS,
        ),
        imported=shape,
        tensors=tensors,
        licence=LICENCE,
        decisions=(
            f"layout: {LAYOUT}-{variant.upper()}, pooled {shape.pool} x {shape.pool}",
            (
                f"head: dense layers {list(shape.dense_features)} with {shape.activation} (by the "
                "variant: the weights do not tell)"
            ),
            (
                f"input: five crops of {crop} of {size} pixels, their months averaged, as its "
                "authors tested it (--tta none: the whole picture alone)"
                if options.has_test_views
                else f"input: {size} pixels, the whole picture alone (--tta none)"
            ),
            "padding: symmetric, as timm pads this network",
            "units: months, no bias correction",
            (
                "sex: 1 is male, 0 is female (assumed: the training table's column is 'male'); "
                "behind the image's features"
            ),
            (
                f"preprocessing: less the mean grey level, CLAHE with clip {_CLAHE_CLIP:g}, black "
                "borders to a square, antialiased bilinear, grey levels 0 to 255"
            ),
        ),
    )
    return fitted_member(member, path=checkpoint.path, layout=LAYOUT)
