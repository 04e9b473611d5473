"""Load libraries fast: without what they can do without, and without looking for garbage."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def loading() -> Iterator[None]:
    """Look for no garbage while a process loads what it lives by, and never again among that.

    To look took a tenth of the processor time of loading PyTorch and timm, and would take as long
    in the midst of an image, for a million objects that all stay.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
