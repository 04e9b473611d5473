"""Growth: what a call of the queue costs with 100, 10 000 and 1 000 000 finished jobs.

The peer is the same call at 100 jobs, in the same database a minute before.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import perf_counter

from sqlalchemy import Engine

from tests.benchmarks.databases import DATABASES, finish_first_job, multiply_to, now, queue_of
from tests.benchmarks.figures import Aim, Figure
from tests.worker.queue.makers import LEASE, arrival
from worker.queue.database import open_engine
from worker.queue.figures import Figures

SIZES = (100, 10_000, 1_000_000)
CALLS = 40
_FLAT = Aim(at_most=1.5)


def measure(*, runs: int) -> list[Figure]:
    """Return milliseconds for each call; medians over ``runs`` times 40 calls."""
    figures: list[Figure] = []
    for name, opened in DATABASES.items():
        with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as url:
            engine = open_engine(url)
            try:
                figures.extend(_grow(name, engine, calls=CALLS * runs))
            finally:
                engine.dispose()
    return figures


def _grow(database: str, engine: Engine, *, calls: int) -> Iterator[Figure]:
    finish_first_job(engine)
    numbers = count(1)
    at_first: dict[str, float] = {}
    for size in SIZES:
        multiply_to(engine, size)
        for name, action in _actions(engine, numbers).items():
            action()
            milliseconds = statistics.median(_time(action) for _ in range(calls))
            first = at_first.setdefault(name, milliseconds)
            yield Figure(
                name=f"{database}: {name}, {size:,} jobs".replace(",", " ").replace("  ", ", "),
                value=milliseconds,
                unit="ms",
                peer=f"{SIZES[0]} jobs" if size != SIZES[0] else "",
                peer_value=first if size != SIZES[0] else None,
                aim=_FLAT if size != SIZES[0] else None,
            )


def _actions(engine: Engine, numbers: "count[int]") -> dict[str, Callable[[], object]]:
    queue = queue_of(engine)
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
