import pytest
from sqlalchemy import Engine

from schemas.figures import ConstancyFigures
from schemas.jobs import JobState
from schemas.phantom import CONSTANCY_AE
from tests.fakes import Clock
from tests.worker.queue.makers import arrival, claimed, result, send_all
from worker.queue.constancy import newest_rounds
from worker.queue.database import reading
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox


def begin(queue: JobQueue, number: int) -> None:
    queue.receive(arrival(f"1.2.{number}", calling_ae=CONSTANCY_AE))


def rounds(engine: Engine, clock: Clock) -> tuple[ConstancyFigures, ...]:
    with reading(engine) as session:
        return newest_rounds(session, at=clock())


def test_a_round_is_under_way_until_its_results_are_taken(
    queue: JobQueue, outbox: Outbox, engine: Engine, clock: Clock
) -> None:
    begin(queue, 1)
    (waiting,) = rounds(engine, clock)
    claim = claimed(queue)
    queue.settle(claim, result(claim, bone_age_months=132.9))
    (read,) = rounds(engine, clock)
    clock.forward(seconds=3)
    send_all(outbox)
    (ended,) = rounds(engine, clock)

    assert (waiting.state, waiting.bone_age_months) == (JobState.QUEUED, None)
    assert (read.state, read.ended_at) == (JobState.DELIVERING, None)
    assert (ended.state, ended.ended_at) == (JobState.DELIVERED, clock())
    assert ended.bone_age_months == pytest.approx(132.9)
    assert ended.release_digest == "1" * 64


def test_the_newest_rounds_come_first_and_images_of_patients_are_none(
    queue: JobQueue, engine: Engine, clock: Clock
) -> None:
    for number in range(7):
        clock.forward(minutes=1)
        begin(queue, number)
        queue.receive(arrival(f"9.9.{number}"))

    found = [one.job_id for one in rounds(engine, clock)]

    assert found == [13, 11, 9, 7, 5]


def test_rounds_of_last_month_say_nothing_of_today(
    queue: JobQueue, engine: Engine, clock: Clock
) -> None:
    begin(queue, 1)
    clock.forward(days=16)

    assert rounds(engine, clock) == ()
