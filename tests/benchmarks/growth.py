"""Growth: what a call of the queue costs with 100, 10 000 and 1 000 000 finished jobs.

The peer is the same call at 100 jobs, in a database of the same kind.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
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

SIZES = (100, 10_000, 1_000_000)
CALLS = 40
_FLAT = Aim(at_most=1.5)


def measure(*, runs: int) -> list[Figure]:
    """Return milliseconds for each call; medians over ``runs`` times 40 calls."""
    return [
        figure
        for name in DATABASES
        for figure in _figures(name, {size: _times(name, size, runs=runs) for size in SIZES})
    ]


def _figures(database: str, times: dict[int, dict[str, float]]) -> Iterator[Figure]:
    first, *larger = SIZES
    for call, few in times[first].items():
        yield Figure(name=f"{database}: {call}, {first} jobs", value=few, unit="ms")
        for size in larger:
            yield Figure(
                name=f"{database}: {call}, {size:_} jobs".replace("_", " "),
                value=times[size][call],
                unit="ms",
                peer=f"{first} jobs",
                peer_value=few,
                aim=_FLAT,
            )


def _times(database: str, size: int, *, runs: int) -> dict[str, float]:
    """Return milliseconds of each call with so many finished jobs, in a database of its own."""
    with tempfile.TemporaryDirectory() as folder, DATABASES[database](Path(folder)) as url:
        engine = open_engine(url)
        try:
            finish(engine, size)
            return {
                call: statistics.median(_time(action) for _ in range(1 + CALLS * runs))
                for call, action in _actions(engine).items()
            }
        finally:
            engine.dispose()


def _actions(engine: Engine) -> dict[str, Callable[[], object]]:
    queue, numbers = queue_at(engine), count(1)
    figures = Figures(engine, now=now)
    return {
        "enqueue": lambda: queue.receive(arrival(f"7.{next(numbers)}")),
        "claim": lambda: queue.claim(lease=LEASE),
        "list": lambda: queue.jobs(limit=100),
        "metrics": figures.snapshot,
    }


def _time(action: Callable[[], object]) -> float:
    began = perf_counter()
    action()
    return (perf_counter() - began) * 1000
