"""Deeplasia: its EfficientNets and Inception of both layouts, and its mask network.

The legacy layout (before March 2022, all published results) keeps the network's parts at the top;
the new one keeps them under ``backbone`` and ``dense``. They differ in more than names: the legacy
EfficientNets use swish in the head and on the pooled features, everything else uses ReLU.
"""

import re
from dataclasses import dataclass

from models.networks.deeplasia_efficientnet import (
    VARIANTS,
    block_count,
    head_width,
)
from models.networks.fast_surfer_mask import FastSurferMask
from models.networks.imported import DEEPLASIA_EFFICIENTNET, DEEPLASIA_INCEPTION
from models.release.importing.bias import Bias, decide_units, published_bias
from models.release.importing.converted import (
    ConvertedMask,
    ConvertedMember,
    ImportOptions,
    Tensors,
    fitted,
    fitted_member,
    renamed,
    safe_name,
)
from models.release.importing.errors import MissingTensorsError, NoAgeInsideError
from models.release.importing.unpickle import Checkpoint
from schemas.releases import (
    Framing,
    ImportedNetwork,
    MaskNetwork,
    MemberPreprocessing,
    Scaling,
    Subtraction,
)

LICENCE = (
    "Non-commercial: CC BY-NC 4.0, as Deeplasia states it; trained on the RSNA Pediatric Bone Age "
    "images (non-commercial research and education)."
)
ORIGIN = "Deeplasia (aimi-bonn), imported"
#: of the ages that the published members were trained on, months
PUBLISHED_MEAN, PUBLISHED_SD = 127.31657409667969, 41.17934799194336
_INPUT_SIZE, _HIGH_RESOLUTION = 512, 1024

_HEAD_RULES = (
    (r"^(?:dense\.)?(?:fc_gender_in|fc_male_in|male_fc)\.", "dense_head.sex_in."),
    (r"^(?:dense\.)?dense_blocks\.(\d+)\.(?:0\.)?(weight|bias)$", r"dense_head.dense.\1.\2"),
    (r"^(?:dense\.)?(?:fc_boneage|fc_disorder)\.", "dense_head.out."),
    (r"^dense\.fc_sex\.", "dense_head.sex_out."),
    (
        r"^dense\.explicit_sex_classifier\.(\d+)\.(?:0\.)?(weight|bias)$",
        r"dense_head.sex_dense.\1.\2",
    ),
)
_TRUNK_RULES = (
    (r"^(?:backbone\.)?base\.", "trunk."),
    (r"^(?:backbone\.)?features\.", "trunk.layers."),
)
#: never used: ImageNet's thousand classes, and the learnt weights of the losses
_UNUSED = re.compile(r"^(?:(?:backbone\.)?base\._fc\.|loss\.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    is_new: bool
    is_inception: bool

    def __str__(self) -> str:
        kind = "Inception-v3" if self.is_inception else "EfficientNet"
        return f"Deeplasia's {kind} of the {'new' if self.is_new else 'legacy'} layout"


def _layout_of(tensors: Tensors) -> _Layout:
    return _Layout(
        is_new=any(name.startswith(("backbone.", "dense.")) for name in tensors),
        is_inception=any("features.0." in name for name in tensors),
    )


def is_deeplasia(tensors: Tensors) -> bool:
    """Say whether the names are those of a Deeplasia network for the age."""
    has_trunk = any(re.search(r"^(?:backbone\.)?(?:base|features)\.", name) for name in tensors)
    return has_trunk and any("dense_blocks." in name or "fc_" in name for name in tensors)


def is_deeplasia_mask(tensors: Tensors) -> bool:
    """Say whether the names are those of Deeplasia's mask network."""
    return any(name.endswith("encode1.conv0.weight") for name in tensors)


def _layers(tensors: Tensors, prefix: str) -> tuple[int, ...]:
    """Return the widths of a row of dense layers, in their order."""
    widths = {}
    for name, value in tensors.items():
        match = re.fullmatch(re.escape(prefix) + r"\.(\d+)\.weight", name)
        if match:
            widths[int(match[1])] = int(value.shape[0])
    return tuple(widths[index] for index in sorted(widths))


def _our_names(tensors: Tensors) -> Tensors:
    used = {name: value for name, value in tensors.items() if not _UNUSED.search(name)}
    named = renamed(used, (*_HEAD_RULES, *_TRUNK_RULES))
    return {
        (name.replace("._", ".") if name.startswith("trunk.") else name): value
        for name, value in named.items()
    }


def _architecture(tensors: Tensors, checkpoint: Checkpoint, layout: _Layout) -> str:
    """Return which network it is: EfficientNets by their last map and their number of blocks."""
    if layout.is_inception:
        return DEEPLASIA_INCEPTION
    head = tensors.get("trunk.conv_head.weight")
    blocks = {name.split(".")[2] for name in tensors if name.startswith("trunk.blocks.")}
    width = 0 if head is None else int(head.shape[0])
    for variant in VARIANTS:
        if (width, len(blocks)) == (head_width(variant), block_count(variant)):
            return f"{DEEPLASIA_EFFICIENTNET}{variant}"
    raise MissingTensorsError(
        path=checkpoint.path,
        layout=str(layout),
        problem=f"no variant has {len(blocks)} blocks and a last map of {width} channels",
    )


def _input_size(checkpoint: Checkpoint, options: ImportOptions) -> tuple[int, str]:
    if options.input_size is not None:
        return options.input_size, "as told"
    stated = checkpoint.hyper_parameters.get("input_size")
    if isinstance(stated, list | tuple) and stated and isinstance(stated[-1], int):
        return stated[-1], "by the checkpoint's hyper-parameters"
    if "highres" in checkpoint.path.stem.lower():
        return _HIGH_RESOLUTION, "by the file's name (highRes)"
    return _INPUT_SIZE, "the usual one; the checkpoint does not say"


def _sex(tensors: Tensors, checkpoint: Checkpoint) -> tuple[Tensors, tuple[int, ...] | None, str]:
    """Return the tensors that are used, the widths of the sex classifier, and what was decided.

    A network with a classifier of its own was trained on what that one says, unless
    ``correct_predicted_sex`` was set; then it was trained on the true sex.
    """
    classifier = _layers(tensors, "dense_head.sex_dense")
    if classifier and not checkpoint.hyper_parameters.get("correct_predicted_sex"):
        return (
            tensors,
            classifier,
            (
                "sex: the age is read with the sex that the network itself predicts, as it was "
                "trained; the sex of the header changes nothing"
            ),
        )
    unused = ("dense_head.sex_out.", "dense_head.sex_dense.")
    kept = {name: value for name, value in tensors.items() if not name.startswith(unused)}
    dropped = "; the head that predicts the sex is left out" if len(kept) < len(tensors) else ""
    if "dense_head.sex_in.weight" not in tensors:
        return kept, None, f"sex: not used by this network{dropped}"
    return kept, None, f"sex: 1 is male, 0 is female{dropped}"


def _bias(checkpoint: Checkpoint, options: ImportOptions, *, mean: float, sd: float) -> Bias:
    """Return the correction: as told, as the checkpoint has it, as published, or none."""
    told = (options.biases or {}).get(checkpoint.path.stem)
    if told is not None:
        slope, intercept = told
        text = f"bias correction: slope {slope:g}, intercept {intercept:g} months, as told"
        return Bias(slope=slope, intercept_months=intercept, decision=text)
    slope, intercept = checkpoint.values.get("slope", 0.0), checkpoint.values.get("bias", 0.0)
    if (slope, intercept) != (0.0, 0.0):
        return decide_units(
            checkpoint.path,
            slope=slope,
            intercept=intercept,
            mean=mean,
            sd=sd,
            units=options.bias_units,
        )
    return published_bias(checkpoint.path) or Bias(
        slope=0.0,
        intercept_months=0.0,
        decision="bias correction: none; neither the checkpoint nor its name gives one "
        "(tell it with --bias STEM=SLOPE,INTERCEPT in months)",
    )


def preprocessing_for(*, use_mask: bool, options: ImportOptions) -> MemberPreprocessing:
    """Return Deeplasia's preprocessing at inference."""
    return MemberPreprocessing(
        use_mask=use_mask,
        subtract=Subtraction.PERCENTILE,
        mask_crop=options.mask_crop if use_mask else None,
        framing=Framing.CENTRE,
        scaling=Scaling.Z_SCORE,
    )


def _preprocessing_decision(*, use_mask: bool, options: ImportOptions) -> str:
    if not use_mask:
        crop = "the whole image, no mask network given; its central square is read"
    elif options.mask_crop is None:
        crop = "the hand alone; the central square of the image is read, as for the published error"
    else:
        crop = f"the hand alone, in a square of {options.mask_crop:g} times its longer side"
    return (
        f"preprocessing: {crop}; less the 1st percentile of the pixels above 0; bilinear; "
        "z-score of each picture"
    )


def _padding_decision(architecture: str) -> str:
    if architecture == DEEPLASIA_INCEPTION:
        return "padding: that of Inception-v3; batch norm of the first layer with epsilon 1e-5"
    variant = architecture.removeprefix(DEEPLASIA_EFFICIENTNET)
    native = VARIANTS[variant].native_size
    return f"padding: fixed for {native} pixels, the native size of {variant}, as it was trained"


def _shape(tensors: Tensors, layout: _Layout) -> ImportedNetwork:
    """Return the shape of the head but for the sex and the correction."""
    has_swish = not layout.is_new and not layout.is_inception
    return ImportedNetwork(
        dense_features=_layers(tensors, "dense_head.dense"),
        activation="swish" if has_swish else "relu",
        activate_pooled=has_swish,
    )


def _require_age(checkpoint: Checkpoint) -> None:
    hyper = checkpoint.hyper_parameters
    if hyper.get("age_sigma") == 0 and not hyper.get("learnable_sigma"):
        raise NoAgeInsideError(path=checkpoint.path, why="it was trained for the sex alone")


def convert_deeplasia(
    checkpoint: Checkpoint, *, use_mask: bool, options: ImportOptions
) -> ConvertedMember:
    """Return a Deeplasia network as a member.

    Raises:
        PermanentError: one of the classes in ``models.release.importing.errors``.
    """
    _require_age(checkpoint)
    layout = _layout_of(checkpoint.tensors)
    tensors, classifier, sex_decision = _sex(_our_names(checkpoint.tensors), checkpoint)
    architecture = _architecture(tensors, checkpoint, layout)
    mean = checkpoint.values.get("age_mean", PUBLISHED_MEAN)
    sd = checkpoint.values.get("age_std", PUBLISHED_SD)
    bias = _bias(checkpoint, options, mean=mean, sd=sd)
    correction = {
        "sex_classifier": classifier,
        "bias_slope": bias.slope,
        "bias_intercept_months": bias.intercept_months,
    }
    shape = _shape(tensors, layout).model_copy(update=correction)
    size, size_reason = _input_size(checkpoint, options)
    known = "the checkpoint's" if "age_mean" in checkpoint.values else "the published ones"
    sex_in = tensors.get("dense_head.sex_in.weight")
    member = ConvertedMember(
        name=safe_name(checkpoint.path),
        origin=ORIGIN,
        architecture=architecture,
        input_size=size,
        sex_features=0 if sex_in is None else int(sex_in.shape[0]),
        age_mean_months=mean,
        age_sd_months=sd,
        preprocessing=preprocessing_for(use_mask=use_mask, options=options),
        imported=shape,
        tensors=tensors,
        licence=LICENCE,
        decisions=(
            f"layout: {layout}, {architecture}, dense layers {list(shape.dense_features)}",
            f"input: {size} pixels, {size_reason}",
            _padding_decision(architecture),
            f"ages: mean {mean:.2f}, standard deviation {sd:.2f} months, {known}",
            bias.decision,
            sex_decision,
            _preprocessing_decision(use_mask=use_mask, options=options),
        ),
    )
    return fitted_member(member, path=checkpoint.path, layout=str(layout))


def convert_mask(checkpoint: Checkpoint) -> ConvertedMask:
    """Return Deeplasia's mask network.

    Raises:
        MissingTensorsError: tensors are missing, left over or of another shape.
    """
    tensors = renamed(checkpoint.tensors, ((r"^backbone\.", ""),))
    first = tensors["encode1.conv0.weight"]
    filters, kernel = int(first.shape[0]), int(first.shape[-1])
    network = FastSurferMask(filters=filters, kernel_size=kernel)
    return ConvertedMask(
        entry=MaskNetwork(file="mask.safetensors", filters=filters, kernel_size=kernel),
        tensors=fitted(network, tensors, path=checkpoint.path, layout="Deeplasia's mask network"),
        decisions=(
            (
                f"mask network: {filters} filters, kernel {kernel}; read at 512 pixels, in the "
                "middle of a black square; an image without a hand is refused, not read whole"
            ),
        ),
    )
