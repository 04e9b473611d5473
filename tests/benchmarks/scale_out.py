"""Scale-out: jobs a second with 1, 2 and 3 processes on PostgreSQL, the network a pause.

What is in it: the claim and the settlement of each job as ``infer`` makes them, with its result,
an object made, two that are owed, and the audit trail; PostgreSQL syncs every commit. What is not:
decoding, the network, the page and its files: they cost the same whatever the queue does. The
processes and the server share the cores of this machine.

A process takes one image after the other, as on a processor, or sixteen at once, as a GPU would.
"no pause" is the queue alone; the processor time beside it says what a job costs wherever it runs.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.tables import Table
from tests.benchmarks.databases import postgresql
from tests.benchmarks.figures import Aim, Figure
from tests.benchmarks.processes import usage
from tests.worker.queue.makers import LEASE, result
from tests.worker.queue.many import let_wait, queue_at
from worker.queue.database import open_engine
from worker.queue.jobs import JobQueue

PROCESSES = (1, 2, 3)
PAUSE_SECONDS = 0.002  #: for an image: the network on a GPU
BATCH = 16
JOBS = {1: 480, BATCH: 1920}
_START_SECONDS = 60  #: until all processes are ready, on a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How the processes of one figure work."""

    processes: int
    batch: int
    pause_seconds: float

    def __str__(self) -> str:
        """Return it as the name of a figure says it."""
        at_once = "one by one" if self.batch == 1 else f"{self.batch} at once"
        pause = f"{self.pause_seconds * 1000:g} ms each" if self.pause_seconds else "no pause"
        return f"{self.processes} infer, {at_once}, {pause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one process did."""

    began: float  #: of the monotonic clock, which is one for all processes
    ended: float
    jobs: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What came of one run."""

    jobs_a_second: float
    processes_ms: float  #: processor time for a job
    server_ms: float


_WAYS = tuple(
    _Way(processes=processes, batch=batch, pause_seconds=pause)
    for batch in JOBS
    for processes, pause in (*((one, PAUSE_SECONDS) for one in PROCESSES), (max(PROCESSES), 0.0))
)


def measure(*, runs: int) -> list[Figure]:
    """Return jobs a second for each way, and what a job costs; medians over ``runs``."""
    found: dict[_Way, list[_Run]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory() as folder, postgresql(Path(folder)) as url:
        for _ in range(runs):
            for way in _WAYS:  # in turn: what else the machine does meets all alike
                found[way].append(_run(url, way))
    rates = {
        way: statistics.median(one.jobs_a_second for one in done) for way, done in found.items()
    }
    most = Figure(name="the most", value=max(rates.values()), unit="jobs/s", aim=Aim(at_least=500))
    return [figure for way in _WAYS for figure in _figures(way, rates[way], found[way])] + [most]


def _figures(way: _Way, rate: float, done: list[_Run]) -> Iterator[Figure]:
    if way.pause_seconds:
        bound = way.processes / way.pause_seconds
        yield Figure(
            name=str(way), value=rate, unit="jobs/s", peer="the pause alone", peer_value=bound
        )
        return
    yield Figure(name=str(way), value=rate, unit="jobs/s")
    costs = {
        "infer": statistics.median(one.processes_ms for one in done),
        "PostgreSQL": statistics.median(one.server_ms for one in done),
    }
    for who, cost in costs.items():
        yield Figure(name=f"{way}: of a core in {who}", value=cost, unit="ms/job")


def _run(url: str, way: _Way) -> _Run:
    engine = open_engine(url)
    _empty(engine)
    jobs = JOBS[way.batch]
    let_wait(engine, jobs)
    server = _server(engine)
    before = usage(server).cpu_seconds
    shares = _shares(url, way)
    server_seconds = usage(server).cpu_seconds - before
    engine.dispose()
    done = sum(share.jobs for share in shares)
    seconds = max(share.ended for share in shares) - min(share.began for share in shares)
    return _Run(
        jobs_a_second=done / seconds,
        processes_ms=sum(share.cpu_seconds for share in shares) / done * 1000,
        server_ms=server_seconds / jobs * 1000,
    )


def _empty(engine: Engine) -> None:
    tables = ", ".join(Table.metadata.tables)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY")


def _server(engine: Engine) -> int:
    """Return the process above all those of the server."""
    with engine.connect() as connection:
        backend = connection.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
    return psutil.Process(backend).ppid()


def _shares(url: str, way: _Way) -> list[_Share]:
    """Let the processes empty the queue together; return what each of them did."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(way.processes)
    pipes = []
    for _ in range(way.processes):
        ours, theirs = context.Pipe(duplex=False)
        context.Process(target=_work, args=(url, way, start, theirs), daemon=True).start()
        theirs.close()  # so that a process that dies is noticed
        pipes.append(ours)
    return [ours.recv() for ours in pipes]


def _work(url: str, way: _Way, start: Barrier, answer: Connection) -> None:
    engine = open_engine(url)
    queue = queue_at(engine)
    _turn(queue, way)  # what is made once in the life of a process is made
    start.wait(_START_SECONDS)
    began, cpu, jobs = time.monotonic(), time.process_time(), 0
    while done := _turn(queue, way):
        jobs += done
    answer.send(
        _Share(
            began=began,
            ended=time.monotonic(),
            jobs=jobs,
            cpu_seconds=time.process_time() - cpu,
        )
    )
    engine.dispose()


def _turn(queue: JobQueue, way: _Way) -> int:
    """Take what is due, wait as long as the network would, settle it; return how many."""
    claims = queue.claim_several(lease=LEASE, most=way.batch)
    if not claims:
        return 0
    time.sleep(way.pause_seconds * len(claims))
    lost = queue.settle_several([(claim, result(claim)) for claim in claims])
    if lost:
        raise RuntimeError(f"{len(lost)} claims were lost")
    return len(claims)
