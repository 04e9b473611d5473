"""Which attributes are read: every keyword of the data dictionary that a module's source names."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.tag import Tag

from worker.inference import header, intake, pixels, resend
from worker.operations.conformance.markdown import table

_READERS: tuple[tuple[str, ModuleType], ...] = (
    ("which image is read (intake rules)", intake),
    ("whose hand, which side, how old, when", header),
    ("grey values", pixels),
    ("whether a second sending changes the result", resend),
)


@dataclass(frozen=True, slots=True, order=True)
class Attribute:
    """One attribute, ordered by its tag."""

    tag: str  #: "(0010,0040)"
    name: str


def attributes_table() -> str:
    """Return what is read for which purpose."""
    rows = (
        (purpose, ", ".join(f"{one.name} {one.tag}" for one in _read_by(module)))
        for purpose, module in _READERS
    )
    return table(("what for", "attributes"), rows)


def _read_by(module: ModuleType) -> list[Attribute]:
    return sorted(set(_named_in(ast.parse(inspect.getsource(module)))))


def _named_in(tree: ast.AST) -> Iterator[Attribute]:
    for node in ast.walk(tree):
        word = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
        number = tag_for_keyword(word) if word and isinstance(word, str) else None
        if number is None:
            continue
        tag = Tag(number)
        yield Attribute(f"({tag.group:04X},{tag.element:04X})", dictionary_description(tag))
