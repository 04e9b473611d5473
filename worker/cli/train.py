"""`boneage train`: one recipe, one run, one folder that alone can repeat it."""

import importlib.util
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import PermanentError
from worker.cli.options import JsonOption
from worker.cli.output import print_facts, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from models.training.cohort import Cohort
    from models.training.recipe import Recipe
    from models.training.run_folder import RunFolder

_NEEDED = ("lightning", "torchmetrics", "tensorboard")


class TrainingNotInstalledError(PermanentError):
    """The libraries of training are not installed: serving does not need them."""

    code = "train.not_installed"

    def __init__(self, *, library: str) -> None:
        super().__init__(
            f"Training needs {library}, which is not installed. Nothing was trained. "
            "Run `pip install 'boneage-worker[train]'`."
        )


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="Name, TOML file, or a run folder to repeat."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Change keys of it.")
    ] = None,
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Images, table. Default: $BONEAGE_TEST_DATA."),
    ] = None,
    runs: Annotated[
        Path, typer.Option("--runs", metavar="DIR", help="Where run folders are put.")
    ] = Path("runs"),
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", metavar="FILE", help="The table, where it lies elsewhere."),
    ] = None,
    split: Annotated[
        Path | None, typer.Option("--split", metavar="FILE", help="Which child is in which part.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option("--split-column", help="Column of a split file with several.")
    ] = None,
    masks: Annotated[
        list[Path] | None,
        typer.Option("--masks", metavar="DIR", help="Masks of hands; may be given again."),
    ] = None,
    accelerator: Annotated[
        str, typer.Option("--accelerator", help="cpu, gpu, auto … (Lightning's words).")
    ] = "auto",
    devices: Annotated[
        str, typer.Option("--devices", help='How many, or which: "2", "0,3", auto.')
    ] = "auto",
    strategy: Annotated[
        str, typer.Option("--strategy", help="ddp … for several devices; auto.")
    ] = "auto",
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Hosts that take part.")] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Check recipe and data, and train nothing.")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Show the shipped recipes.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train one member; go on where an interrupted run of the same name stopped.

    Keys are described in models/training/recipe.py; augmentation.flip=0 reaches inside a table. The
    run folder holds recipe, split, record, passes, run.log, the best weights, best.ckpt, last.ckpt.

    Examples: boneage train --list

    boneage train default --data ../shared/data

    boneage train wouters-resnet18-sex name=mine seed=3 images.children=500 --check

    boneage train deeplasia-b4-512 --data rsna --masks masks --devices 4 --strategy ddp
    """
    if show_list:
        _list(as_json=as_json)
        return
    if recipe is None:
        raise typer.BadParameter("name a recipe, or ask for --list", param_hint="RECIPE")
    _require_libraries()
    from models.training.train import Hardware

    cohort = _cohort(
        recipe, data=data, split=split, column=split_column, table=annotations, masks=masks
    )
    if check:
        _check(recipe, overrides or [], cohort=cohort, as_json=as_json)
        return
    hardware = Hardware(accelerator=accelerator, devices=devices, strategy=strategy, nodes=nodes)
    folder = _train(recipe, overrides or [], cohort=cohort, runs=runs, hardware=hardware)
    _tell(folder, as_json=as_json)


def _cohort(
    recipe: str,
    *,
    data: Path | None,
    split: Path | None,
    column: str | None,
    table: Path | None,
    masks: list[Path] | None,
) -> "Cohort":
    """Return the children that are named; those of a run that is to be repeated, where none are."""
    from models.training.cohort import Cohort
    from models.training.places import default_data
    from models.training.run_folder import RunFolder
    from models.training.split import SPLIT_FILE

    run = RunFolder(path=Path(recipe))
    record = run.read_record()
    known = {name: Path(record[name]) for name in ("data", "table") if record.get(name)}
    return Cohort(
        data=data or known.get("data") or default_data(),
        split=split or (run.split if run.split.exists() else SPLIT_FILE),
        split_column=column,
        table=table or (None if data else known.get("table")),
        masks=tuple(masks or map(Path, record.get("masks", ()))),
    )


def _require_libraries() -> None:
    for library in _NEEDED:
        if importlib.util.find_spec(library) is None:
            raise TrainingNotInstalledError(library=library)


def _train(
    recipe: str,
    overrides: list[str],
    *,
    cohort: "Cohort",
    runs: Path,
    hardware: Any,  # noqa: ANN401 - imported late, with torch
) -> "RunFolder":
    from models.training.train import train as train_member

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")  # advice on loaders and old names
    with progress_bar() as bar:
        task = bar.add_task("Preparing images", total=None, visible=False)

        def preparing(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=done < total)
            if done == total:
                bar.stop()  # the bar of the passes comes next

        return train_member(
            recipe,
            overrides,
            cohort=cohort,
            runs=runs,
            hardware=hardware,
            progress=sys.stderr.isatty(),
            preparing=preparing,
        )


def _list(*, as_json: bool) -> None:
    from models.training.recipe_file import list_recipes, read_recipe

    recipes = [read_recipe(name) for name in list_recipes()]
    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "summary": one.summary,
                    "task": one.task,
                    "architecture": one.architecture,
                    "input_size": one.input_size,
                    "passes": one.passes,
                }
                for one in recipes
            ]
        )
        return
    print_table(
        ("RECIPE", "SIZE", "PASSES", "WHAT IT IS"),
        [(one.name, str(one.input_size), str(one.passes), one.summary) for one in recipes],
        none="There are no recipes.",
    )


def _check(recipe: str, overrides: list[str], *, cohort: "Cohort", as_json: bool) -> None:
    """Say what a run would learn from, or every reason why it cannot."""
    from models.training.recipe_file import read_recipe

    plan = read_recipe(recipe, overrides)
    counts = _count(plan, cohort)
    if as_json:
        print_json({"recipe": plan.as_dict(), "images": counts})
        return
    print_facts({"Recipe": f"{plan.name}: {plan.summary}", "Data": str(cohort.data)})
    print_table(("PART", "IMAGES"), [(one, str(n)) for one, n in counts.items()], none="")
    print("All files are there, and all rows can be used.")


def _count(plan: "Recipe", cohort: "Cohort") -> dict[str, int]:
    if plan.task == "classes":
        from models.training.class_folders import ClassModule

        pictures = ClassModule(plan, data=cohort.data)
        return {"train": len(pictures.training), "validate": len(pictures.validation)}
    from models.training.cohort import check_cohort

    use_mask = plan.preprocessing is not None and plan.preprocessing.use_mask
    chosen = check_cohort(cohort, folders=plan.images.folders, use_mask=use_mask)
    parts = [cohort.part_of(one) for one in chosen]
    return {part.value: parts.count(part) for part in dict.fromkeys(parts) if part}


def _tell(folder: "RunFolder", *, as_json: bool) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    if getattr(rank_zero_only, "rank", 0):  # another process of the same run says it
        return
    record = folder.read_record()
    metrics: dict[str, float] = record.get("metrics", {})
    if as_json:
        print_json(
            {
                "name": record["recipe"]["name"],
                "folder": folder.path,
                "weights": folder.weights,
                "passes_done": record["passes_done"],
                "best_pass": record["best_pass"],
                "input_size": record["input_size"],
                "parameters": record.get("parameters"),
                "hours": folder.read_training().hours,
                "metrics": metrics,
            }
        )
        return
    print(
        f"Run {record['recipe']['name']} is in {folder.path}: {record['passes_done']} passes, "
        f"the best was pass {record['best_pass']}."
    )
    if numbers := record.get("parameters"):
        hours = folder.read_training().hours or 0.0
        print(
            f"{numbers['learning']:,} of {numbers['all']:,} parameters learned, in {hours} hours."
        )
    print_facts({name: f"{value:.3f}" for name, value in metrics.items()})
    print(f"Curves: tensorboard --logdir {folder.path}")
