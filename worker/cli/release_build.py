"""`boneage release build`: finished runs become a release, calibrated and measured."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from worker.cli.options import JsonOption, MaskNetworkOption
from worker.cli.output import print_json, progress_bar, steps_in


def build(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the release.")],
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", exists=True, file_okay=False, help="Folders of runs, each a member."
        ),
    ],
    *,
    version: Annotated[str, typer.Option("--version", help="Stands in every report.")] = "1",
    gate: Annotated[
        Path | None,
        typer.Option("--gate", metavar="DIR", help="A trained gate. Default: simple bounds."),
    ] = None,
    mask_network: MaskNetworkOption = None,
    averaging: Annotated[
        Literal["none", "mirror", "five_crops"],
        typer.Option("--averaging", help="Views that each member's months are averaged over."),
    ] = "mirror",
    upright: Annotated[
        bool,
        typer.Option(
            "--upright", help="Turn a leaning hand upright, and cut broad borders off, first."
        ),
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="Where it is put. Default: the releases here."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of a release of this name.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Images, table. Default: $BONEAGE_TEST_DATA."),
    ] = None,
    split_file: Annotated[
        Path | None,
        typer.Option("--split-file", metavar="FILE", help="Which child is in which part."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Keeps what the networks said.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a release of finished runs: weights, gate, intervals, tables, card, phantom's value.

    Intervals are fitted on the calibrate and validate parts, tables measured on the test part;
    images of native aspect are read from DICOM files, as the worker reads them. The folder appears
    when all of it is done. The gate is trained by `python -m models.training.gate.train`.

    Example: boneage release build mine runs/a runs/b --gate runs/gate --into releases
    """
    from models.release.importing.errors import ReleaseExistsError
    from models.release.manifest import RELEASES
    from models.training.build import NewRelease, build_release
    from models.training.cohort import Cohort
    from models.training.places import default_data
    from models.training.split import SPLIT_FILE
    from schemas.releases import Averaging
    from worker.inference.round_trip import WorkerDicomPath

    folder = (into or RELEASES) / name
    if folder.exists() and not replace:
        raise ReleaseExistsError(path=folder)
    with progress_bar() as bar:
        manifest = build_release(
            NewRelease(
                name=name,
                version=version,
                gate=gate,
                mask_network=mask_network,
                averaging=Averaging(averaging),
                upright=upright,
                releases=into or RELEASES,
            ),
            runs,
            cohort=Cohort(data=data or default_data(), split=split_file or SPLIT_FILE),
            cache=cache,
            progress=steps_in(bar),
            dicom=WorkerDicomPath(),
        )
    if as_json:
        print_json(
            {
                "name": name,
                "folder": folder,
                "metrics": [row.model_dump() for row in manifest.metrics],
            }
        )
        return
    print(f"Release {name}, version {version}, is in {folder}; its card is {folder / 'card.md'}.")
    print(f"Show it: boneage release show {name if into is None else folder}")
