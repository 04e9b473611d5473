"""Measure the product beside its peers and limits: ``python -m tests.benchmarks [NAME ...]``.

Each figure stands beside a peer or a limit that was measured in the same run on the same machine.
Nothing else should run meanwhile. Results go to ``tests/benchmarks/results``.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from tests.benchmarks.figures import Figure
from tests.benchmarks.record import keep, machine, show

#: name → what it measures; the module of that name has ``measure(runs=...)``
BENCHMARKS = {
    "receive": "C-STORE of 6 MB images: ours, Orthanc with fsync, storescp",
    "startup": "from the command line to ready",
    "growth": "queue calls with few and very many finished jobs",
    "scale_out": "jobs a second with 1, 2 and 3 processes",
    "turnaround": "from our C-STORE response to the report in Orthanc",
    "estimate": "from DICOM bytes to outbox row, beside the bare networks",
    "engines": "the networks of the release in each engine",
    "service": "the way of a well-known REST service, beside ours",
    "decoding": "compressed radiographs, one thread and two",
    "training": "images a second, beside the bare loop",
    "gpu": "the same on an accelerator, where there is one",
}


def main() -> int:
    """Measure what is named, or everything, and say which aims were missed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog="\n".join(f"  {name:11} {what}" for name, what in BENCHMARKS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*BENCHMARKS, []])
    parser.add_argument("--runs", type=int, default=3, help="medians over so many (default 3)")
    parser.add_argument("--no-keep", action="store_true", help="leave results/ as it is")
    given = parser.parse_args()
    console = Console(width=120)
    for name in given.names or BENCHMARKS:
        _run(name, runs=given.runs, is_kept=not given.no_keep, console=console)
    return 0


def _run(name: str, *, runs: int, is_kept: bool, console: Console) -> None:
    on = machine()
    module = importlib.import_module(f"tests.benchmarks.{name}")
    measure: Callable[..., Sequence[Figure]] = module.measure
    with console.status(f"{name}: {BENCHMARKS[name]}"):
        figures = measure(runs=runs)
    if not figures:
        console.print(f"{name}: nothing to measure here: {module.__doc__}")
        return
    show(name, figures, console)
    if is_kept:
        keep(name, figures, runs=runs, on=on)


if __name__ == "__main__":
    sys.exit(main())
