"""The three networks of `ianpan/bone-age`, as far as its public description reaches."""

import re
from pathlib import Path

import cv2
import numpy as np

from models.networks.imported import CONVNEXT_DISTRIBUTION
from models.release.importing.converted import (
    ConvertedMember,
    ImportOptions,
    Tensors,
    fitted_member,
    safe_name,
)
from models.release.importing.errors import BadOptionError
from models.release.importing.unpickle import Checkpoint
from schemas.releases import Framing, ImportedNetwork, MemberPreprocessing, Scaling

LICENCE = (
    "Apache-2.0, as the model card of ianpan/bone-age states it; trained on the RSNA Pediatric "
    "Bone Age images (non-commercial research and education)."
)
ORIGIN = "ianpan/bone-age (Ian Pan), imported"
LAYOUT = "ianpan/bone-age"
_INPUT_SIZE = 512
_MEMBER = re.compile(r"^net(\d+)\.")


def is_bone_age_convnext(tensors: Tensors) -> bool:
    """Say whether the names are those of `ianpan/bone-age`, whole or a single network of it."""
    plain = {_MEMBER.sub("", name) for name in tensors}
    return {"pooling.p", "linear.weight", "backbone.stem.0.weight"} <= plain


def _members(tensors: Tensors) -> dict[str, Tensors]:
    """Return the tensors of each network, by its name; one name for a single network."""
    members: dict[str, Tensors] = {}
    for name, value in tensors.items():
        match = _MEMBER.match(name)
        member = f"net{match[1]}" if match else "net"
        members.setdefault(member, {})[_MEMBER.sub("", name)] = value
    return members


def convert_bone_age_convnext(
    checkpoint: Checkpoint, *, options: ImportOptions
) -> list[ConvertedMember]:
    """Return the networks as members.

    Raises:
        MissingTensorsError: tensors are missing, left over or of another shape.
    """
    size = options.input_size or _INPUT_SIZE
    is_matched = options.reference_histogram is not None
    matching = "matched to the histogram of the reference image" if is_matched else "as they are"
    decisions = (
        f"layout: {LAYOUT}, convnextv2_tiny with a generalised mean and 240 months",
        f"input: {size} pixels, resized until the longer side fits, black borders",
        "padding: that of ConvNeXt (none that depends on the size)",
        "units: months, the expectation over 0 to 239; no bias correction",
        "sex: a second channel, 255 for a girl, 0 for a boy",
        (
            f"preprocessing: grey levels 0 to 255, {matching}; the network of `bone-age-crop` is "
            "not imported, the whole image is read"
        ),
        (
            "scale: both channels from -1 to 1 (assumed: the public description does not give it); "
            "compare a few children of known age before use"
        ),
    )
    members = [
        ConvertedMember(
            name=f"{safe_name(checkpoint.path)}-{member}",
            origin=ORIGIN,
            architecture=CONVNEXT_DISTRIBUTION,
            input_size=size,
            sex_features=0,
            age_mean_months=0.0,
            age_sd_months=1.0,
            preprocessing=MemberPreprocessing(
                reference_histogram=options.reference_histogram,
                framing=Framing.FIT,
                scaling=Scaling.GREY_LEVELS,
            ),
            imported=ImportedNetwork(),
            tensors=tensors,
            decisions=decisions,
            licence=LICENCE,
        )
        for member, tensors in sorted(_members(checkpoint.tensors).items())
    ]
    return [fitted_member(one, path=checkpoint.path, layout=LAYOUT) for one in members]


def read_reference_histogram(path: Path) -> tuple[int, ...]:
    """Return how many pixels of a picture have each of the 256 grey levels.

    Raises:
        BadOptionError: the file is no picture.
    """
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise BadOptionError(
            option=f"--reference-image {path}",
            problem="is no picture that can be read",
            mend="Give ref_img.png of ianpan/bone-age.",
        )
    return tuple(int(count) for count in np.bincount(grey.ravel(), minlength=256))
