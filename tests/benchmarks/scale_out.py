"""Scale-out: jobs a second with 1, 2 and 3 processes on PostgreSQL, the network a pause.

The pause stands for the estimate, so that the queue alone decides: each process claims, waits and
settles with both objects owed, durably. Two cores carry the processes and the server.
"""

import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.benchmarks.databases import postgresql
from tests.benchmarks.figures import Aim, Figure
from tests.worker.queue.makers import LEASE, arrival, result
from tests.worker.queue.many import queue_at
from worker.queue.database import open_engine

PROCESSES = (1, 2, 3)
JOBS = 600
PAUSE_SECONDS = 0.005


def measure(*, runs: int) -> list[Figure]:
    """Return jobs a second for each number of processes; medians over ``runs``."""
    with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder)) as url:
        rates = {
            processes: statistics.median(
                _rate(url, processes=processes, run=run) for run in range(runs)
            )
            for processes in PROCESSES
        }
    return [
        Figure(
            name=f"jobs a second, {processes} process{'es' if processes > 1 else ''}",
            value=rates[processes],
            unit="jobs/s",
            peer="the pause alone",
            peer_value=processes / PAUSE_SECONDS,
        )
        for processes in PROCESSES
    ] + [
        Figure(
            name="jobs a second, the most",
            value=max(rates.values()),
            unit="jobs/s",
            aim=Aim(at_least=500),
        )
    ]


def _rate(url: str, *, processes: int, run: int) -> float:
    engine = open_engine(url)
    queue = queue_at(engine)
    for number in range(JOBS):
        queue.receive(arrival(f"1.{processes}.{run}.{number}"))
    engine.dispose()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        list(pool.map(_warm, [url] * processes * 4))
        began = time.perf_counter()
        done = sum(pool.map(_work, [url] * processes))
        seconds = time.perf_counter() - began
    if done != JOBS:
        raise RuntimeError(f"{done} of {JOBS} jobs were settled")
    return JOBS / seconds


def _warm(url: str) -> None:
    open_engine(url).connect().close()


def _work(url: str) -> int:
    engine = open_engine(url)
    queue = queue_at(engine)
    done = 0
    while (claim := queue.claim(lease=LEASE)) is not None:
        time.sleep(PAUSE_SECONDS)
        queue.settle(claim, result(claim))
        done += 1
    engine.dispose()
    return done
