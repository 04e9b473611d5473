import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAINS = (ROOT / "tests" / "PAINS.md").read_text(encoding="utf-8")


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_against_a_pain_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAINS)

    assert len(named) > 20
    assert [
        f"{file}::{test}" for file, test in named if test not in functions_of(ROOT / file)
    ] == []


def test_every_pain_has_its_row() -> None:
    assert re.findall(r"(?m)^\| (\d+) \|", PAINS) == [str(number) for number in range(1, 26)]


def test_no_pain_is_left_open() -> None:
    assert re.findall(r"(?m)^\| (\d+) \|[^|]*\|\s*\|$", PAINS) == []
