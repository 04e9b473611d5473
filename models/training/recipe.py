"""One recipe, one run: everything that decides what a member becomes, in one TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from models.training.augmentation import Augmentation
from schemas.errors import UsageError

RECIPES = Path(__file__).parents[1] / "recipes"


class RecipeError(UsageError):
    """A recipe cannot be used as it stands."""

    code = "train.recipe"

    def __init__(self, *, problem: str, recipe: str) -> None:
        super().__init__(
            f"Recipe {recipe}: {problem} Nothing was trained. The keys are described in "
            "models/training/recipe.py; overrides are written key=value."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A number of passes over the training children at one image size."""

    passes: int
    size: int  #: pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one member is trained."""

    name: str
    architecture: str
    stages: tuple[Stage, ...]
    pretrained: bool = True  #: start from ImageNet weights
    warm_start: str = ""  #: start from this safetensors file of a released member instead
    seed: int = 1
    batch_size: int = 64
    learning_rate: float = 2e-3  #: peak of the one-cycle schedule
    warm_up: float = 0.15  #: share of the steps until the peak
    weight_decay: float = 0.02
    dropout: float = 0.2
    ema_decay: float = 0.998  #: of the averaged weights that are kept
    clip_gradient: float = 5.0
    hidden_features: int = 256
    sex_features: int = 32
    precision: str = "bf16-mixed"  #: of Lightning's Trainer
    threads: int = 0  #: CPU threads; 0: as many as there are
    workers: int = 0  #: processes that load data
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def passes(self) -> int:
        """All passes over the training children."""
        return sum(stage.passes for stage in self.stages)

    @property
    def input_size(self) -> int:
        """The size of the last stage: what the member reads in service."""
        return self.stages[-1].size

    def size_at(self, epoch: int) -> int:
        """Return the image size of one pass, counted from 0."""
        last = 0
        for stage in self.stages:
            last += stage.passes
            if epoch < last:
                return stage.size
        return self.input_size

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, for the record of a run."""
        return asdict(self)


def _parse_value(text: str) -> Any:  # noqa: ANN401 - TOML values are of any type
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _apply(table: dict[str, Any], override: str, *, recipe: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(problem=f"{override!r} is not key=value.", recipe=recipe)
    *parents, last = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
    table[last] = _parse_value(text)


def _check_keys(table: Mapping[str, Any], kind: type, *, recipe: str) -> None:
    known = {one.name for one in fields(kind)}
    unknown = sorted(set(table) - known)
    if unknown:
        problem = f"unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}."
        raise RecipeError(problem=problem, recipe=recipe)


def build_recipe(table: Mapping[str, Any]) -> Recipe:
    """Return a recipe from plain values; unknown, missing or wrong keys are errors.

    Raises:
        RecipeError: says which key.
    """
    values = dict(table)
    name = str(values.get("name", "(unnamed)"))
    _check_keys(values, Recipe, recipe=name)
    stages = values.pop("stages", ())
    augmentation = values.pop("augmentation", {})
    for stage in stages:
        _check_keys(stage, Stage, recipe=name)
    _check_keys(augmentation, Augmentation, recipe=name)
    if not stages:
        raise RecipeError(problem="it has no [[stages]].", recipe=name)
    try:
        return Recipe(
            **values,
            stages=tuple(Stage(**stage) for stage in stages),
            augmentation=Augmentation(**augmentation),
        )
    except TypeError as error:
        raise RecipeError(problem=f"{error}.", recipe=name) from error


def read_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe from a file, or by its name in ``models/recipes``.

    Args:
        recipe: path of a TOML file, or a name without ``.toml``.
        overrides: ``key=value``; ``augmentation.gamma=0.2`` reaches inside a table.

    Raises:
        RecipeError: there is no such recipe, or a key is wrong.
    """
    path = Path(recipe)
    if path.suffix != ".toml":
        path = RECIPES / f"{recipe}.toml"
    if not path.exists():
        known = ", ".join(sorted(one.stem for one in RECIPES.glob("*.toml")))
        raise RecipeError(problem=f"there is no {path}; shipped are {known}.", recipe=str(recipe))
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    for override in overrides:
        _apply(table, override, recipe=path.stem)
    table.setdefault("name", path.stem)
    return build_recipe(table)
