"""Every shipped recipe on real images: ``python -m tests.campaigns.recipes``.

Each recipe trains as `boneage train` would train it, its images made smaller and its passes fewer,
and its weights are read back; the recipe that it comes after, if any, goes before it. The recipes
with classes are given hands and chests in two folders. ``RECIPE+after=OTHER`` tries two steps.
The short form, on drawn images, is ``tests/models/training/test_every_recipe.py``.
"""

import argparse
import json
import logging
import math
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from models.training.archive import decode
from models.training.cohort import Cohort
from models.training.places import default_data
from models.training.recipe_file import list_recipes, read_recipe
from models.training.run_folder import RunFolder
from models.training.split import Part
from models.training.train import train


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one recipe came to."""

    recipe: str
    size: int
    images: int
    seconds: float
    metric: str
    value: float
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much each recipe is given."""

    children: int
    size: int
    passes: int


#: two steps that no recipe makes of itself
TWO_STEPS = (
    "transfer-fine-tune+after=transfer-fixed",
    "predict-efficientnetv2-s-balanced+after=predict-efficientnetv2-s",
)


def in_order(names: Sequence[str]) -> list[str]:
    """Return recipes, each behind the one that it comes after."""
    ordered: dict[str, None] = {}
    for name in names:
        recipe, *changes = name.split("+")
        if before := read_recipe(recipe, changes).after:
            ordered |= dict.fromkeys(in_order([before]))
        ordered[name] = None
    return list(ordered)


def overrides_for(name: str, effort: Effort) -> list[str]:
    """Return what makes a recipe small: one size, few passes, few children, no foreign files."""
    name, *changes = name.split("+")
    recipe = read_recipe(name)
    size = min(recipe.input_size, effort.size)
    balanced = ["images.images_in_a_pass=0"] if recipe.images.images_in_a_pass else []
    return [
        f"stages=[{{passes={effort.passes}, size={size}}}]",
        f"images.children={effort.children}",
        "warm_start=",
        *balanced,
        *changes,
        *([f"name={name}-second"] if changes else []),
    ]


def write_classes(data: Path, folder: Path, *, count: int) -> Cohort:
    """Write real hands and real pictures that are no hands into an ImageFolder layout."""
    hands = Cohort(data=data)
    archive = hands.open_archive()
    pictures = [
        archive.read(folder=one.folder, image_id=one.image_id)
        for one in hands.select(Part.TRAIN)[:count]
    ]
    with zipfile.ZipFile(data / "not_hand.zip") as others:
        names = [name for name in others.namelist() if not name.endswith("/")][:count]
        strangers = [decode(others.read(name), path=Path(name)) for name in names]
    for label, chosen in (("HAND", pictures), ("OTHER", strangers)):
        for number, picture in enumerate(chosen):
            place = folder / ("val" if number % 4 == 0 else "train") / label
            place.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place / f"{number}.png"), picture)
    return Cohort(data=folder)


def try_recipe(name: str, *, cohort: Cohort, runs: Path, effort: Effort) -> Outcome:
    """Train one recipe and judge what it left behind."""
    overrides = overrides_for(name, effort)
    started = time.perf_counter()
    plain = name.split("+", maxsplit=1)[0]
    folder = train(plain, overrides, cohort=cohort, runs=runs, progress=False)
    record = folder.read_record()
    recipe = read_recipe(folder.path)
    value = float(record["metrics"][recipe.metric])
    problems = []
    if not math.isfinite(value):
        problems.append("the metric is no number")
    if record["passes_done"] != effort.passes:
        problems.append(f"{record['passes_done']} passes")
    if not load_file(folder.weights):
        problems.append("no weights")
    return Outcome(
        recipe=name,
        size=recipe.input_size,
        images=record.get("training_children", record.get("training_images", 0)),
        seconds=round(time.perf_counter() - started, 1),
        metric=recipe.metric,
        value=round(value, 3),
        problem=", ".join(problems),
    )


def try_two_processes(*, data: Path, runs: Path, effort: Effort) -> Outcome:
    """Train with two processes that must meet after each pass, as several GPUs do.

    A process that waits for another that never comes does not end by itself: it is ended after ten
    minutes, and that is the problem.
    """
    command = [sys.executable, "-m", "worker", "train", "lite0", "name=two-processes"]
    changes = [*overrides_for("lite0", effort), "precision=32-true", "threads=1"]
    places = ["--data", str(data), "--runs", str(runs), "--json"]
    two = ["--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"]
    started = time.perf_counter()
    problem, value = "", math.nan
    try:
        ended = subprocess.run(
            [*command, *changes, *places, *two], capture_output=True, timeout=600, check=False
        )
        problem = ended.stderr.decode()[-200:] if ended.returncode else ""
    except subprocess.TimeoutExpired:
        problem = "the processes did not end"
    record = RunFolder(path=runs / "two-processes").read_record()
    value = float(record.get("metrics", {}).get("val_mae_months", value))
    return Outcome(
        recipe="lite0 in two processes",
        size=effort.size,
        images=effort.children,
        seconds=round(time.perf_counter() - started, 1),
        metric="val_mae_months",
        value=round(value, 3),
        problem=problem,
    )


def run(
    names: Sequence[str], *, data: Path, runs: Path, effort: Effort, console: Console
) -> list[Outcome]:
    """Return the outcome of each recipe; what one of them raises ends the campaign."""
    ages = Cohort(data=data)
    classes = write_classes(data, runs / "classes", count=effort.children)
    outcomes = []
    for name in names:
        task = read_recipe(name.split("+", maxsplit=1)[0]).task
        cohort = classes if task == "classes" else ages
        outcome = try_recipe(name, cohort=cohort, runs=runs, effort=effort)
        outcomes.append(outcome)
        (runs / "outcomes.json").write_text(
            json.dumps([asdict(one) for one in outcomes], indent=1), encoding="utf-8"
        )
        console.print(
            f"{name}: {outcome.metric} {outcome.value} after {outcome.seconds} s {outcome.problem}"
        )
    return outcomes


def main() -> None:
    """Train every recipe on real images and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--runs", type=Path, help="default: a temporary folder")
    parser.add_argument("--children", type=int, default=300)
    parser.add_argument("--size", type=int, default=256, help="greatest image size")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("recipes", nargs="*", help="default: all")
    given = parser.parse_args()
    console = Console(width=110)
    effort = Effort(children=given.children, size=given.size, passes=given.passes)
    runs = given.runs or Path(tempfile.mkdtemp(prefix="recipes-"))
    runs.mkdir(parents=True, exist_ok=True)
    names = in_order(given.recipes or [*list_recipes(), *TWO_STEPS])
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")  # advice on loaders and old names
    outcomes = run(names, data=given.data, runs=runs, effort=effort, console=console)
    if not given.recipes:
        outcomes.append(try_two_processes(data=given.data, runs=runs, effort=effort))
    table = Table("RECIPE", "PIXELS", "IMAGES", "SECONDS", "METRIC", "VALUE", "PROBLEM", box=None)
    for one in outcomes:
        table.add_row(*(str(value) for value in asdict(one).values()))
    console.print(table)
    raise SystemExit(any(one.problem for one in outcomes))


if __name__ == "__main__":
    main()
