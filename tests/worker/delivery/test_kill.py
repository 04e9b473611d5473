import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from schemas.jobs import JobState
from tests.fakes import Clock, FakePacs
from tests.orthanc import wait_for
from tests.worker.delivery.owing import Owing

REPOSITORY = Path(__file__).parents[3]


@contextmanager
def delivering(
    owing: Owing, pacs: FakePacs, *, ahead_minutes: float
) -> Iterator[Callable[[], None]]:
    """Run a real process; what comes out kills it as a power cut would."""
    command = [sys.executable, "-m", "tests.worker.delivery.deliver_process"]
    process = subprocess.Popen(
        [*command, str(owing.root), str(pacs.port), str(ahead_minutes)], cwd=REPOSITORY
    )

    def kill() -> None:
        process.kill()
        process.wait(20)

    try:
        yield kill
    finally:
        kill()


@pytest.fixture
def today(owing: Owing) -> Owing:
    """The house with a clock that agrees with that of a real process."""
    engine: Engine = owing.engine
    return Owing(root=owing.root, engine=engine, clock=Clock(datetime.now(UTC)))


def test_a_deliverer_that_is_killed_before_the_answer_delivers_once_after_a_restart(
    today: Owing, pacs: FakePacs
) -> None:
    job, _ = today.owe("pacs")
    pacs.hold()
    with delivering(today, pacs, ahead_minutes=0) as kill:
        pacs.wait_for(lambda each: each.held_count == 1, limit_seconds=60)
        kill()
    pacs.let_go()
    pacs.wait_for(lambda each: len(each.stored) == 1)  # it has the object; nobody heard of it
    today.clock.forward(minutes=5)
    assert today.queue.rescue() == 1

    with delivering(today, pacs, ahead_minutes=10):
        wait_for(lambda: today.state(job) is JobState.DELIVERED)

    assert len(pacs.stored) == 2
    sent = [request.sop_instance_uid for request in pacs.requests]
    assert sorted(sent.count(uid) for uid in pacs.stored) == [1, 2]
    first, second = (
        each.dataset for each in pacs.requests if sent.count(each.sop_instance_uid) == 2
    )
    assert first == second
