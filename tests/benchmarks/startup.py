"""Start-up: from the command to the listening port, to loaded networks, and to a list of jobs.

With a warm disk, and compiled as pip installs it: the first of each is not counted. Beside each
stands a bare Python that imports the libraries it cannot do without, measured in the same run: the
limit of what start-up can be.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from tests.benchmarks.figures import Aim, Figure
from tests.orthanc import free_port
from tests.system.running import RunningWorker


def measure(*, runs: int) -> list[Figure]:
    """Return seconds to readiness; medians over ``runs`` starts after one that is thrown away."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs
    with tempfile.TemporaryDirectory() as folder:
        worker = RunningWorker(Path(folder), pacs_ae="PACS", pacs_port=free_port())
        return [
            figure
            for name, action, modules, limit in (
                ("listen ready", lambda: _listen(worker), "pynetdicom, sqlalchemy.orm", 1.0),
                ("infer ready", lambda: _infer(worker), "torch, timm", 6.0),
                ("jobs list", lambda: _list_jobs(worker), "sqlalchemy.orm, typer", 0.5),
            )
            for figure in _figures(name, action, modules, limit=limit, runs=runs)
        ]


def _figures(
    name: str, action: Callable[[], float], modules: str, *, limit: float, runs: int
) -> Iterator[Figure]:
    seconds = _median(action, runs)
    yield Figure(name=name, value=seconds, unit="s", aim=Aim(at_most=limit))
    yield Figure(
        name=f"{name}, by its libraries",
        value=seconds,
        unit="s",
        peer=f"import {modules}",
        peer_value=_median(lambda: _imports(modules), runs),
    )


def _median(action: Callable[[], float], runs: int) -> float:
    action()  # warms the disk
    return statistics.median(action() for _ in range(runs))


def _listen(worker: RunningWorker) -> float:
    began = perf_counter()
    worker.start("listen")
    seconds = perf_counter() - began
    worker.kill()
    return seconds


def _infer(worker: RunningWorker) -> float:
    worker.log_file.unlink(missing_ok=True)
    began = perf_counter()
    worker.start("infer", "listen")
    worker.wait_for_log("inference.ready")
    seconds = perf_counter() - began
    worker.kill()
    return seconds


def _list_jobs(worker: RunningWorker) -> float:
    began = perf_counter()
    worker.command("jobs", "list").check_returncode()
    return perf_counter() - began


def _imports(modules: str) -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    return perf_counter() - began
