"""The operator's commands. Only this package prints."""

import atexit
import gc
import os
import sys
from collections.abc import Sequence

from worker.lean import load_without

#: Objects made before the youngest are looked at. Python's 700 makes imports a tenth slower; of
#: what really is garbage, a few megabytes wait a little longer.
_COLLECT_AFTER = 10_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code.

    A quarter of `boneage jobs list` was spent on garbage: while libraries load there is none, and
    at the end the process goes as a whole. A tenth went into what structlog draws tracebacks with,
    which ours has none of, and into asking every installed package for plugins of pydantic.
    """
    gc.set_threshold(_COLLECT_AFTER)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    load_without("structlog", hidden=("rich",))
    atexit.register(_leave_garbage)
    from worker.cli.application import main as run

    run(arguments)


def _leave_garbage() -> None:
    """Spare a small command its last collection; the libraries under torch count what is left."""
    if "torch" not in sys.modules:
        gc.freeze()


__all__ = ["main"]
