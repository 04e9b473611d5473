"""Several real processes at one database: nothing is done twice, nothing is left undone."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import pytest
from sqlalchemy import Engine

from schemas.jobs import JobState, Receipt
from tests.fakes import Clock
from tests.worker.queue.conftest import Database
from tests.worker.queue.makers import arrival, claimed, result
from tests.worker.queue.processes import (
    IMAGES,
    claim_all,
    claim_and_hang,
    deliver_all,
    receive_same,
)
from worker.queue.audit import AuditTrail
from worker.queue.jobs import JobQueue

T = TypeVar("T")

PROCESSES = 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(
        PROCESSES, mp_context=multiprocessing.get_context("spawn")
    ) as executor:
        yield executor


def test_each_job_is_claimed_exactly_once(
    database: Database, queue: JobQueue, pool: ProcessPoolExecutor
) -> None:
    for number in range(IMAGES):
        queue.receive(arrival(f"1.{number}"))

    claims = at_once(pool, claim_all, database)

    assert sorted(job for found in claims for job in found) == list(range(1, IMAGES + 1))
    assert queue.counts()[JobState.RUNNING] == IMAGES


def test_the_same_image_sent_by_several_at_once_is_one_job(
    database: Database, queue: JobQueue, pool: ProcessPoolExecutor
) -> None:
    receipts = [receipt for found in at_once(pool, receive_same, database) for receipt in found]

    assert receipts.count(Receipt.NEW) == IMAGES
    assert receipts.count(Receipt.DUPLICATE) == IMAGES * (PROCESSES - 1)
    assert len(queue.jobs(limit=1000)) == IMAGES


def test_a_job_is_delivered_although_its_last_objects_are_sent_at_the_same_time(
    database: Database, queue: JobQueue, pool: ProcessPoolExecutor
) -> None:
    for number in range(IMAGES):
        queue.receive(arrival(f"1.{number}"))
        claim = claimed(queue)
        queue.settle(claim, result(claim))

    sent = at_once(pool, deliver_all, database)

    assert sum(sent) == 2 * IMAGES
    assert queue.counts()[JobState.DELIVERED] == IMAGES


def test_the_trail_is_whole_when_many_write_and_one_seals(
    database: Database,
    queue: JobQueue,
    engine: Engine,
    pool: ProcessPoolExecutor,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    trail = AuditTrail(engine, now=database.clock)
    anchor = tmp_path_factory.mktemp("audit") / "anchor"
    futures = [pool.submit(receive_same, database.url) for _ in range(PROCESSES)]
    sealed = 0
    while not all(future.done() for future in futures):
        sealed += trail.seal(b"k" * 32, anchor)
    sealed += trail.seal(b"k" * 32, anchor)

    assert sealed == IMAGES * PROCESSES == len(trail.list(limit=1000))
    assert trail.verify(b"k" * 32, anchor) == ()
    assert len(queue.jobs(limit=1000)) == IMAGES


def test_a_killed_worker_leaves_its_job_to_the_next(
    database: Database, queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=claim_and_hang, args=(database.url, theirs))
    worker.start()
    assert ours.poll(timeout=60)
    assert ours.recv() == 1

    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(timeout=60)
    worker.close()
    ours.close()
    theirs.close()
    clock.forward(minutes=3)

    assert queue.rescue() == 1
    assert claimed(queue).attempt == 2


def at_once(pool: ProcessPoolExecutor, work: Callable[[str], T], database: Database) -> list[T]:
    return list(pool.map(work, [database.url] * PROCESSES))
