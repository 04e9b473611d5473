"""`boneage` with a stub in place of the networks, traps at the kill points and a clock to be moved.

Run as ``python -m tests.campaigns.faults.launch FOLDER serve …``: everything behind FOLDER is
for ``boneage``. The product knows nothing of it: functions are wrapped here, in the child.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.config import Config
from schemas.jobs import RetryPolicy
from tests.campaigns.faults.points import POINTS, Trap
from tests.campaigns.faults.warm import WarmProcess
from worker.app import clock, identities, processes, readers, releases
from worker.cli import main as boneage
from worker.logs import log
from worker.operations import supervisor
from worker.operations.supervisor import ProcessSpec, Supervisor

LAUNCHER = "tests.campaigns.faults.launch"
PLAN = "plan.json"
CLOCK = "clock.json"
#: of the page on each axis: a PACS that takes thousands of them is not what is tested
_PAGE_STEP = 4
_AT_ONCE = RetryPolicy(
    attempts=1_000_000,
    first_delay=timedelta(seconds=0.3),
    factor=1,
    longest_delay=timedelta(seconds=0.3),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the service of one folder differs from the product's."""

    lease_seconds: int = 4  #: shorter than the settings allow, so that a run takes seconds
    has_traps: bool = False
    is_warm: bool = True  #: children are forked, see ``warm``
    estimate_seconds: float = 0.0  #: how long the stub takes
    images_at_once: int = 1  #: that `infer` has in hand
    timezone: str = ""  #: "Europe/Berlin"; empty: that of the machine

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLAN).write_text(json.dumps(vars(self)), encoding="ascii")


def set_clock(folder: Path, *, ahead: timedelta) -> None:
    """Let the clock of every process that was started with ``folder`` be wrong by ``ahead``."""
    beside = folder / f"{CLOCK}.part"
    beside.write_text(json.dumps(ahead.total_seconds()), encoding="ascii")
    beside.replace(folder / CLOCK)


class QuickSupervisor(Supervisor):
    """Starts children by this launcher, and again without the patience that an operator wants."""

    def __init__(self, specs: Sequence[ProcessSpec], **named: Any) -> None:  # noqa: ANN401 - passed on
        ours = [replace(spec, command=_through_us(spec.command)) for spec in specs]
        super().__init__(ours, restarts=_AT_ONCE, **named)


class WarmSupervisor(QuickSupervisor):
    """Forks children that have imported everything already."""

    def _start(self, child: Any) -> None:  # noqa: ANN401 - the supervisor's own
        words = child.spec.command
        name = child.spec.name.partition(":")[0]
        child.process = WarmProcess(run_here, words[words.index(LAUNCHER) + 1 :], name=name)
        child.started_at = self._clock()
        log.info("supervisor.started", name=child.spec.name, pid=child.process.pid)


def run_here(words: Sequence[str]) -> None:
    main(Path(words[0]), words[1:])


def _through_us(command: tuple[str, ...]) -> tuple[str, ...]:
    folder = sys.argv[1]
    at = command.index("worker")
    return (*command[:at], LAUNCHER, folder, *command[at + 1 :])


class _Clock:
    """The time of this host, wrong by what the file says now."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def utc(self) -> datetime:
        try:
            ahead = float(json.loads(self._file.read_text(encoding="ascii")))
        except FileNotFoundError:
            ahead = 0.0
        return datetime.now(UTC) + timedelta(seconds=ahead)

    def local(self) -> datetime:
        return self.utc().astimezone()


def _use_stub(plan: Plan) -> None:
    """Let `infer` read images without networks, and draw a page of a sixteenth of the size."""
    estimate = import_module("worker.inference.estimate")
    stub = import_module("tests.fakes").StubEstimator
    whole_page = estimate.draw_page

    def small_page(*arguments: Any, **named: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - passed on
        page = whole_page(*arguments, **named)
        return np.ascontiguousarray(page[::_PAGE_STEP, ::_PAGE_STEP])

    def reader(config: Config, *, installation_id: str, **_where: object) -> Any:  # noqa: ANN401
        return estimate.ImageReader(
            estimator=stub(before_read=lambda: time.sleep(plan.estimate_seconds)),
            profile=releases.site_profile(config),
            installation_id=installation_id,
            software_version=identities.software_version(),
            now=clock.now,
        )

    estimate.draw_page = small_page  # type: ignore[attr-defined] # where the module looks for it
    readers.image_reader = reader


def _import_everything() -> None:
    """Load what any child needs: its own code is what its kill points stand in."""
    for point in POINTS:
        import_module(point.where.partition(":")[0])
    for name in ("tests.fakes", "worker.inference.estimate", "worker.delivery.deliverer"):
        import_module(name)


def _use_short_leases(plan: Plan) -> None:
    run = processes.run_process

    def run_with_short_leases(config: Config, name: str, stop: Any, **more: Any) -> None:  # noqa: ANN401 - passed on
        lease = {"lease_seconds": plan.lease_seconds}
        sections = {
            "inference": config.inference.model_copy(
                update=lease | {"images_at_once": plan.images_at_once}
            ),
            "delivery": config.delivery.model_copy(update=lease),
        }
        run(config.model_copy(update=sections), name, stop, **more)

    processes.run_process = run_with_short_leases


def main(folder: Path, arguments: Sequence[str]) -> None:
    plan = Plan(**json.loads((folder / PLAN).read_text(encoding="ascii")))
    if plan.timezone:
        os.environ["TZ"] = plan.timezone
        time.tzset()
    # where `serve` looks for it
    supervisor.Supervisor = WarmSupervisor if plan.is_warm else QuickSupervisor  # type: ignore[misc]
    moved = _Clock(folder / CLOCK)
    clock.now, clock.utc_now = moved.local, moved.utc  # the one door for time
    _use_short_leases(plan)
    names = [arguments[at + 1] for at, word in enumerate(arguments) if word == "--only"]
    process = names[0].partition(":")[0] if len(names) == 1 else "serve"
    if process == "serve" and plan.is_warm:
        _import_everything()
    if process == "infer":
        _use_stub(plan)
    if plan.has_traps:
        Trap(folder).set(process)
    boneage(arguments)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
