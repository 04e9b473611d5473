"""Growth: what a call of the queue costs with 100, 10 000 and 1 000 000 finished jobs.

The peer is the same call at 100 jobs, in a database of the same kind. The sizes take turns, call by
call, so that what else the machine does meets all alike.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from time import perf_counter

from sqlalchemy import Engine

from tests.benchmarks.databases import DATABASES
from tests.benchmarks.figures import Aim, Figure
from tests.worker.queue.makers import LEASE, arrival
from tests.worker.queue.many import finish, now, queue_at
from worker.queue.database import open_engine
from worker.queue.figures import Figures
from worker.queue.totals import remember_totals

SIZES = (100, 10_000, 1_000_000)
CALLS = 40
_FLAT = Aim(at_most=1.5)


def measure(*, runs: int) -> list[Figure]:
    """Return milliseconds for each call; medians over ``runs`` times 40 calls."""
    return [
        figure
        for name in DATABASES
        for call, times in _times(name, runs=runs).items()
        for figure in _figures(f"{name}: {call}", times)
    ]


def _figures(call: str, times: dict[int, float]) -> Iterator[Figure]:
    few, *larger = SIZES
    yield Figure(name=f"{call}, {few} jobs", value=times[few], unit="ms")
    for size in larger:
        yield Figure(
            name=f"{call}, {size:_} jobs".replace("_", " "),
            value=times[size],
            unit="ms",
            peer=f"{few} jobs",
            peer_value=times[few],
            aim=_FLAT,
        )


def _times(database: str, *, runs: int) -> dict[str, dict[int, float]]:
    """Return milliseconds of each call at each size."""
    with ExitStack() as stack:
        actions = {size: _actions(stack.enter_context(_filled(database, size))) for size in SIZES}
        return {
            call: _medians({size: calls[call] for size, calls in actions.items()}, runs=runs)
            for call in actions[SIZES[0]]
        }


def _medians(calls: dict[int, Callable[[], object]], *, runs: int) -> dict[int, float]:
    taken: dict[int, list[float]] = {size: [] for size in calls}
    for _ in range(1 + CALLS * runs):
        for size, call in calls.items():
            taken[size].append(_time(call))
    return {size: statistics.median(times) for size, times in taken.items()}


@contextmanager
def _filled(database: str, size: int) -> Iterator[Engine]:
    """Give a database of its own with so many finished jobs."""
    with tempfile.TemporaryDirectory() as folder, DATABASES[database](Path(folder)) as url:
        engine = open_engine(url)
        try:
            finish(engine, size)
            remember_totals(engine, now=now)  # as the schedule does every five minutes
            yield engine
        finally:
            engine.dispose()


def _actions(engine: Engine) -> dict[str, Callable[[], object]]:
    queue, numbers = queue_at(engine), count(1)
    figures = Figures(engine, now=now)

    def scrape() -> None:
        """Read what a process that has counted all that was there reads for each scrape."""
        figures.snapshot()
        figures.results_after(newest, limit=2000)
        figures.endings_after(0, limit=2000)

    # results have the numbers of their jobs here
    newest = max((one.job_id for one in queue.jobs(limit=1)), default=0)
    return {
        "enqueue": lambda: queue.receive(arrival(f"7.{next(numbers)}")),
        "claim": lambda: queue.claim(lease=LEASE),
        "list": lambda: queue.jobs(limit=100),
        "metrics": scrape,
        "metrics of a process that has just started": lambda: Figures(engine, now=now).snapshot(),
    }


def _time(action: Callable[[], object]) -> float:
    began = perf_counter()
    action()
    return (perf_counter() - began) * 1000
