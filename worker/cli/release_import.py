"""`boneage release import`: checkpoints of others become a release of ours."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from worker.cli.options import JsonOption
from worker.cli.output import print_json

CheckpointArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="CHECKPOINT...",
        help="Networks for the age, each a member; beside them Deeplasia's mask network.",
    ),
]


def import_checkpoints(
    checkpoints: CheckpointArgument,
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the new release.")],
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="Where it is put. Default: the releases here."),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option("--input-size", min=64, max=2048, help="Pixels. Default: as the files say."),
    ] = None,
    bias: Annotated[
        list[str] | None,
        typer.Option(
            "--bias",
            metavar="STEM=SLOPE,INTERCEPT",
            help="Bias correction of one file, in months, where the file does not hold it.",
        ),
    ] = None,
    bias_units: Annotated[
        Literal["z", "months"] | None,
        typer.Option("--bias-units", help="Unit of the intercepts in the files. Default: by size."),
    ] = None,
    mask_crop: Annotated[
        float,
        typer.Option(
            "--mask-crop",
            min=0.0,
            max=3.0,
            help="Square round the hand, times its longer side; 0: central square of the image.",
        ),
    ] = 1.15,
    reference_image: Annotated[
        Path | None,
        typer.Option("--reference-image", metavar="FILE", help="Histograms are matched to it."),
    ] = None,
    tta: Annotated[
        Literal["as-published", "none"],
        typer.Option(
            "--tta",
            help="Views that months are averaged over: as their authors tested (boneAge_predict: "
            "five crops, five times the work), or the whole picture alone.",
        ),
    ] = "as-published",
    half_width: Annotated[
        float, typer.Option("--half-width", min=0.1, max=120.0, help="Interval: ± months.")
    ] = 30.0,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Terms of the weights. Default: as published.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn published checkpoints into a release, without running code from them.

    Known are Deeplasia (legacy and new layout, Inception, mask network), boneAge_predict and
    ianpan/bone-age. What was decided about units, padding and preprocessing is printed, and stands
    in the release's manifest and card.

    Example: boneage release import b0.ckpt b4.ckpt fscnn_cos.ckpt --name deeplasia
    """
    from models.release.importing.bone_age_convnext import read_reference_histogram
    from models.release.importing.build import NewRelease, import_release
    from models.release.importing.converted import ImportOptions
    from models.release.manifest import RELEASES

    done = import_release(
        checkpoints,
        new=NewRelease(name=name, half_width_months=half_width, licence=licence),
        options=ImportOptions(
            input_size=input_size,
            bias_units=bias_units,
            biases=dict(_bias(one) for one in bias or ()),
            mask_crop=_mask_crop(mask_crop),
            has_test_views=tta == "as-published",
            reference_histogram=(
                read_reference_histogram(reference_image) if reference_image else None
            ),
        ),
        into=into or RELEASES,
    )
    if as_json:
        print_json(
            {
                "name": done.identity.name,
                "folder": done.folder,
                "digest": done.identity.digest,
                "licence": done.identity.licence,
                "members": list(done.members),
                "decisions": list(done.decisions),
            }
        )
        return
    print(f"Release {done.identity.name} is in {done.folder}.")
    print(f"Its digest is {done.identity.digest}.")
    print(f"Terms of the weights: {done.identity.licence}")
    print("What was decided:")
    for decision in done.decisions:
        print(f"  {decision}")
    print(f"Show it again: boneage release show {done.identity.name if not into else done.folder}")


def _mask_crop(factor: float) -> float | None:
    """Return the factor; nothing for 0."""
    if 0 < factor < 1:
        message = "a square smaller than the hand would cut it; give 0, or 1 and more"
        raise typer.BadParameter(message, param_hint="--mask-crop")
    return factor or None


def _bias(text: str) -> tuple[str, tuple[float, float]]:
    """Return file stem, slope and intercept."""
    stem, _, numbers = text.rpartition("=")
    try:
        slope, intercept = (float(one) for one in numbers.split(","))
    except ValueError as error:
        message = f"{text!r} is not STEM=SLOPE,INTERCEPT"
        raise typer.BadParameter(message, param_hint="--bias") from error
    return stem, (slope, intercept)
