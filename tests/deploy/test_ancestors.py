"""The table of what the four projects could do: its commands are real, and its tests are there."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from models.training.recipe_file import list_recipes, read_recipe
from worker.cli.application import application

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "deploy/docs/ancestors.md"
COLUMNS = 4


def rows() -> list[tuple[str, str, str]]:
    """What stands in the table: function, command, test."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    cells = [[one.strip() for one in line.strip("|").split("|")] for line in lines if "|" in line]
    return [
        (row[0], row[2], row[3])
        for row in cells
        if len(row) == COLUMNS and row[0] != "function" and not row[0].startswith("---")
    ]


def spans(text: str) -> list[str]:
    """What is written as code."""
    return re.findall(r"`([^`]+)`", text)


def options_of_all_commands() -> set[str]:
    waiting: list[Any] = [typer.main.get_command(application())]
    found: set[str] = set()
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        found |= {name for option in command.params for name in option.opts}
    return found


ROWS = rows()
NAMES = [function for function, _, _ in ROWS]


def test_the_table_is_found() -> None:
    assert len(ROWS) > 40


@pytest.mark.parametrize(("function", "command", "tests"), ROWS, ids=NAMES)
def test_the_test_of_a_function_is_there(function: str, command: str, tests: str) -> None:
    names = spans(tests)
    folder = Path()
    for name in names:
        path = Path(name.replace("train/", "models/training/", 1) if name[:6] == "train/" else name)
        if len(path.parts) == 1:  # beside the one before it
            path = folder / path
        folder = path.parent if path.suffix else path
        assert (ROOT / "tests" / path).exists(), f"{function}: {name} ({command})"
    assert names


@pytest.mark.parametrize(("function", "command", "tests"), ROWS, ids=NAMES)
def test_the_command_of_a_function_can_be_typed(function: str, command: str, tests: str) -> None:
    known, last_recipe = options_of_all_commands(), "default"
    for span in spans(command):
        typed = shlex.split(span)
        for option in (one for one in typed if one.startswith("--") and one != "--logdir"):
            assert option in known, f"{function}: {option} ({tests})"
        if typed[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(typed[2]), f"{function}: {typed[2]}"
        changes = [one for one in typed if re.fullmatch(r"[a-z_.]+=[^=\s]+", one)]
        if typed[:2] == ["boneage", "train"] and len(typed) > 2:
            recipe, is_trained_here = typed[2], True
        else:
            recipe, is_trained_here = last_recipe, typed[0] != "boneage"
        if recipe.startswith("runs/"):
            continue
        assert recipe in list_recipes(), f"{function}: {recipe}"
        if is_trained_here:
            read_recipe(recipe, [one for one in changes if "FILE" not in one])
        last_recipe = recipe
