from dataclasses import replace

import pytest

from schemas.config import IntakeRule
from schemas.errors import PermanentError
from schemas.jobs import JobState, Outcome
from tests.builders import hand_radiograph
from tests.fakes import StubEstimator
from tests.worker.inference import conftest
from tests.worker.inference.conftest import Room


class ReadAnywayError(PermanentError):
    """The image that ends workers was read."""


READS_NOTHING = StubEstimator(error=ReadAnywayError())


def receive_and_kill_two_workers(room: Room) -> None:
    room.receive(hand_radiograph())
    for _ in range(2):
        assert room.queue.claim(lease=conftest.LEASE) is not None
        room.clock.forward(minutes=2)
        assert room.queue.rescue() == 1


def test_an_image_that_ended_two_workers_is_refused_and_reported(room: Room) -> None:
    receive_and_kill_two_workers(room)

    job = room.work(READS_NOTHING)

    assert (job.state, job.outcome) == (JobState.DELIVERING, Outcome.REFUSED)
    assert job.reason == "technical"
    assert (job.error or "").startswith("queue.isolated")
    assert {each.destination for each in job.destinations} == {"pacs"}


def test_the_pixels_of_an_isolated_image_are_not_even_loaded(room: Room) -> None:
    receive_and_kill_two_workers(room)
    (spooled,) = room.root.glob("spool/*.dcm")
    whole = spooled.read_bytes()
    pixels_at = whole.index(b"\xe0\x7f\x10\x00OW")
    spooled.write_bytes(whole[: pixels_at + 12])  # tag, VR and length; no value

    job = room.work(READS_NOTHING)

    assert (job.outcome, job.reason) == (Outcome.REFUSED, "technical")


def test_without_technical_reports_an_isolated_image_fails(room: Room) -> None:
    room.policy = replace(room.policy, report_technical_failures=False)
    receive_and_kill_two_workers(room)

    job = room.work(READS_NOTHING)

    assert (job.state, job.reason) == (JobState.FAILED, "queue.isolated")


def test_an_isolated_image_that_no_rule_wants_is_not_reported(room: Room) -> None:
    room.policy = replace(room.policy, rules=(IntakeRule(name="none", words=("nothing",)),))
    receive_and_kill_two_workers(room)

    assert room.work(READS_NOTHING).state is JobState.IGNORED


@pytest.mark.parametrize("deaths", [0, 1])
def test_an_image_that_ended_fewer_workers_is_read(room: Room, deaths: int) -> None:
    room.receive(hand_radiograph())
    for _ in range(deaths):
        room.queue.claim(lease=conftest.LEASE)
        room.clock.forward(minutes=2)
        room.queue.rescue()

    assert room.work().outcome is Outcome.ESTIMATED
