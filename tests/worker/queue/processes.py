"""What the other processes do, apart from the tests so that they start fast."""

import signal
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from schemas.jobs import Receipt
from tests.worker.queue.makers import LEASE, RETRY, arrival, claimed
from worker.queue.database import open_engine
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

IMAGES = 25


def now() -> datetime:
    """The time at which the clock of the tests starts."""
    return datetime(2026, 1, 5, 3, 0, tzinfo=UTC)


def claim_all(url: str) -> list[int]:
    engine = open_engine(url)
    queue = JobQueue(engine, now=now, actor="process", release="r1", retry=RETRY)
    found = []
    while (claim := queue.claim(lease=LEASE)) is not None:
        found.append(claim.job_id)
    engine.dispose()
    return found


def receive_same(url: str) -> list[Receipt]:
    engine = open_engine(url)
    queue = JobQueue(engine, now=now, actor="process", release="r1", retry=RETRY)
    receipts = [queue.receive(arrival(f"1.{number}")) for number in range(IMAGES)]
    engine.dispose()
    return receipts


def deliver_all(url: str) -> int:
    engine = open_engine(url)
    outbox = Outbox(engine, now=now, actor="process")
    sent = 0
    while (claim := outbox.claim(lease=LEASE, destinations=["PACS"])) is not None:
        outbox.mark_sent(claim, sop_instance_uid=f"2.25.{claim.outbox_id}", status=0)
        sent += 1
    engine.dispose()
    return sent


def claim_and_hang(url: str, pipe: Connection) -> None:
    engine = open_engine(url)
    queue = JobQueue(engine, now=now, actor="process", release="r1", retry=RETRY)
    pipe.send(claimed(queue).job_id)
    signal.pause()
