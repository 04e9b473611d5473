"""Load a library as if what it can do without were not installed."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast


def load_without(library: str, *, hidden: Sequence[str]) -> None:
    """Load ``library`` while ``hidden`` ones cannot be imported; does nothing if it is loaded.

    Other imports of these, later, work as ever.
    """
    if library in sys.modules:
        return
    modules = cast("dict[str, Any]", sys.modules)
    absent = [name for name in hidden if name not in modules]
    modules.update(dict.fromkeys(absent))  # None: it cannot be imported
    try:
        import_module(library)
    finally:
        for name in absent:
            del modules[name]
