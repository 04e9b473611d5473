"""Recipes as TOML files: found by name, built on a base, overridden by key=value, written back."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from models.training.recipe import Recipe
from schemas.errors import PermanentError

RECIPES = Path(__file__).parents[1] / "recipes"
#: a recipe file may begin with another one and change what it names
BASE = "base"
#: bases may have bases; more than this is a circle
_MOST_BASES = 5


class RecipeError(PermanentError):
    """A recipe cannot be used as it stands."""

    code = "train.recipe"

    def __init__(self, *, problem: str, recipe: str) -> None:
        super().__init__(
            f"Recipe {recipe}: {problem} Nothing was trained. The keys are described in "
            "models/training/recipe.py; overrides are written key=value."
        )


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a recipe from a file, or by its name in ``models/recipes``.

    Args:
        recipe: path of a TOML file, a run folder with a recipe.toml, or a name without ``.toml``.
        overrides: ``key=value``; ``augmentation.gamma=0.2`` reaches inside a table, and
            ``preprocessing=none`` leaves one out.

    Raises:
        RecipeError: there is no such recipe, or a key is wrong.
    """
    path = _find(recipe)
    table = _read_with_bases(path, depth=0)
    for override in overrides:
        _apply(table, override, recipe=path.stem)
    table.setdefault("name", path.stem)
    return build_recipe(table)


def build_recipe(table: Mapping[str, Any]) -> Recipe:
    """Return a recipe from plain values; unknown, missing or wrong keys are errors.

    Raises:
        RecipeError: says which keys, all of them at once.
    """
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        problem = "; ".join(_words(one) for one in error.errors(include_url=False))
        name = str(table.get("name", "(unnamed)"))
        raise RecipeError(problem=f"{problem}.", recipe=name) from error


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe with all that its bases and overrides made of it."""
    path.write_text(tomlkit.dumps(recipe.as_dict()), encoding="utf-8")


def _find(recipe: str | Path) -> Path:
    path = Path(recipe)
    if path.suffix != ".toml":
        inside = path / "recipe.toml"
        path = inside if inside.exists() else RECIPES / f"{recipe}.toml"
    if not path.exists():
        close = difflib.get_close_matches(str(recipe), list_recipes(), n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        problem = f"there is no {path}.{meant} Shipped are {', '.join(list_recipes())}."
        raise RecipeError(problem=problem, recipe=str(recipe))
    return path


def _read_with_bases(path: Path, *, depth: int) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(problem=f"{path} is not TOML ({error}).", recipe=path.stem) from error
    base = table.pop(BASE, None)
    if base is None:
        return table
    if depth == _MOST_BASES:
        raise RecipeError(problem="its bases run in a circle.", recipe=path.stem)
    below = _read_with_bases(_find(path.parent / base if "." in base else base), depth=depth + 1)
    below.pop("summary", None)
    below.pop("name", None)
    return _merged(below, table)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = deepcopy(dict(below))
    for key, value in above.items():
        is_table = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if is_table else value
    return merged


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
        if not isinstance(table, dict):
            raise RecipeError(problem=f"{parent} in {override!r} is no table.", recipe=recipe)
    if text == "none" and isinstance(table.get(last), dict):
        del table[last]
    else:
        table[last] = _parse_value(text)


def _words(problem: ErrorDetails) -> str:
    """Return one problem in the words of a recipe, with the key that may have been meant."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(problem["loc"][-1]), _all_keys(Recipe), n=1)
        return f"unknown key {key}" + (f" (did you mean {close[0]}?)" if close else "")
    if problem["type"] == "missing":
        return f"it has no {key}"
    said = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {said}" if key else said


def _all_keys(model: Any) -> list[str]:  # noqa: ANN401 - annotations are of any type
    keys: list[str] = []
    for name, field in getattr(model, "model_fields", {}).items():
        keys += [name, *_all_keys(field.annotation)]
    return keys
