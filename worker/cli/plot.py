"""`boneage plot`: pictures of a data set, of one run, or of several runs side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import UsageError
from worker.cli.options import JsonOption
from worker.cli.output import print_facts, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence


class NothingToDrawError(UsageError):
    """A folder is neither a data set nor a run with curves."""

    code = "plot.nothing"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"{path} is neither a run with csv/metrics.csv nor a data folder with its table. "
            "Nothing was drawn. Give folders that `boneage train` wrote, or one data folder."
        )


def plot(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA|RUN...", exists=True, file_okay=False, help="One data set, or runs."
        ),
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the pictures are put.")
    ] = Path("pictures"),
    as_json: JsonOption = False,
) -> None:
    """Draw a data set (ages, sexes, sizes, samples), or the curves of runs in one picture.

    A data set has a table, or folders of classes (train/NORMAL …); its figures are told as well:
    numbers, ages, sizes, grey levels.

    Examples: boneage plot ../shared/data; boneage plot runs/lite0 runs/resnet18-sex --out pictures
    """
    from models.evaluation.target import is_run

    figures: dict[str, float] = {}
    if all(map(is_run, folders)):
        written = _draw_runs(folders, out)
    else:
        written, figures = _draw_data(folders, out)
    if as_json:
        print_json({"written": [str(one) for one in written], "figures": figures})
        return
    print_facts({name: f"{value:g}" for name, value in figures.items()})
    for path in written:
        print(f"written: {path}")


def _draw_runs(runs: "Sequence[Path]", out: Path) -> list[Path]:
    from models.evaluation.page import read_curves
    from models.evaluation.pictures import draw_curves

    curves = {}
    for run in runs:
        curves[run.name] = read_curves(run)
        if not curves[run.name]:
            raise NothingToDrawError(path=run)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "curves.png"
    path.write_bytes(draw_curves(curves))
    return [path]


def _draw_data(folders: "Sequence[Path]", out: Path) -> tuple[list[Path], dict[str, float]]:
    from models.training.cohort import Cohort
    from models.training.pictures import describe_dataset, draw_classes, draw_dataset

    if len(folders) != 1:
        raise NothingToDrawError(path=folders[0])
    if (folders[0] / "train").is_dir():
        return draw_classes(folders[0], out)
    cohort = Cohort(data=folders[0])
    archive = cohort.open_archive()
    figures = describe_dataset(cohort.annotations, archive)
    return draw_dataset(cohort.annotations, archive, out), figures
