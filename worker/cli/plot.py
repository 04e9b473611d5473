"""`boneage plot`: pictures of a data set, of one run, or of several runs side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import UsageError
from worker.cli.options import JsonOption
from worker.cli.output import print_json

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

    Examples: boneage plot ../shared/data; boneage plot runs/lite0 runs/resnet18-sex --out pictures
    """
    from models.evaluation.target import is_run

    written = _draw_runs(folders, out) if all(map(is_run, folders)) else _draw_data(folders, out)
    if as_json:
        print_json({"written": [str(one) for one in written]})
        return
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


def _draw_data(folders: "Sequence[Path]", out: Path) -> list[Path]:
    from models.training.cohort import Cohort
    from models.training.pictures import draw_dataset

    if len(folders) != 1:
        raise NothingToDrawError(path=folders[0])
    cohort = Cohort(data=folders[0])
    return draw_dataset(cohort.annotations, cohort.open_archive(), out)
