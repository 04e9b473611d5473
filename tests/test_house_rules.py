"""What linters cannot know: the README against the commands, the errors and the release."""

import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer

import models
import schemas
import worker
from schemas.errors import BoneAgeError
from schemas.refusals import IgnoreReason, RefusalReason
from tests.readme_table import expected_table, table_in
from worker.cli.application import application

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE_FOLDERS = ("schemas", "models", "worker", "tests")


def modules_of(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if "migrations" not in found.name and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def all_errors(root: type[BoneAgeError] = BoneAgeError) -> Iterator[type[BoneAgeError]]:
    yield root
    for error in root.__subclasses__():
        yield from all_errors(error)


def test_every_error_code_is_explained_in_the_readme() -> None:
    for package in (schemas, models, worker):
        assert list(modules_of(package))
    codes = {error.code for error in all_errors() if error.__module__.split(".")[0] != "tests"}

    missing = sorted(code for code in codes if f"`{code}`" not in README)

    assert missing == []


def test_every_code_in_the_readme_is_one_that_we_have() -> None:
    for package in (schemas, models, worker):
        assert list(modules_of(package))
    codes = {error.code for error in all_errors()} | {"bug.*"}
    table = README.partition("| code | what it means |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = {code for cell in first_cells for code in re.findall(r"`([^`]+)`", cell)}

    assert named - codes == set()


@pytest.mark.parametrize("reason", [*RefusalReason, *IgnoreReason])
def test_every_reason_for_no_number_is_in_the_readme(reason: RefusalReason | IgnoreReason) -> None:
    assert f"`{reason.value}`" in README


def commands_of(app: typer.Typer) -> dict[str, typer.Typer | None]:
    known: dict[str, typer.Typer | None] = {str(one.name): None for one in app.registered_commands}
    known |= {str(group.name): group.typer_instance for group in app.registered_groups}
    return known


def readme_commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`(boneage [^`]+)`", README)
    return [
        shlex.split(line, comments=True)
        for line in [*lines, *inline]
        if line.startswith("boneage ")
    ]


def test_every_command_in_the_readme_exists() -> None:
    assert len(readme_commands()) > 20
    for words in readme_commands():
        known: typer.Typer | None = application()
        for word in words[1:]:
            if known is None or word.startswith("-"):
                break
            assert word in commands_of(known), " ".join(words)
            known = commands_of(known)[word]


def test_the_table_of_the_release_in_the_readme_is_that_of_its_card() -> None:
    assert table_in(README) == expected_table(), "run `make readme`"


def test_every_file_and_folder_that_the_readme_links_to_is_there() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("http") or (ROOT / target).exists(), f"{name}: {target}"


def test_no_module_is_named_after_nothing() -> None:
    nameless = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}
    paths = [path for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*.py")]

    assert [path for path in paths if path.name in nameless] == []


def test_only_the_command_line_prints() -> None:
    for path in [*(ROOT / "worker").rglob("*.py"), *(ROOT / "schemas").rglob("*.py")]:
        if "cli" not in path.parts:
            assert not re.search(r"^\s*print\(", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_decision_has_its_four_parts() -> None:
    decisions = sorted((ROOT / "deploy" / "decisions").glob("*.md"))
    assert decisions
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        number = path.name.partition("-")[0]
        assert text.startswith(f"# {number}: "), path.name
        parts = ("## Context", "## Options", "## Decision", "## What gets harder")
        assert [part for part in parts if part not in text] == [], path.name
