"""Work that never ends: its process is replaced, and the image is not given to a third."""

import os
import subprocess
import sys

import pytest

from schemas.jobs import JobState
from tests.builders import hand_radiograph
from tests.worker.inference.conftest import Room


def run_hanging(room: Room, how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.worker.inference.hanging_process", str(room.root), how],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_network_that_hangs_ends_its_process_and_gives_the_job_back(room: Room) -> None:
    room.receive(hand_radiograph())

    ended = run_hanging(room, "sleeping")

    assert ended.returncode == os.EX_SOFTWARE
    (job,) = room.queue.jobs()
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    assert [(event.event, event.reason) for event in room.queue.events(job.job_id)][-2:] == [
        ("overdue", "estimate"),
        ("rescued", "queue.deadline_passed"),
    ]
    assert "heartbeat.stuck" in ended.stdout + ended.stderr


def test_an_image_on_which_two_networks_hang_is_refused_and_reported(room: Room) -> None:
    room.receive(hand_radiograph())
    run_hanging(room, "sleeping")
    run_hanging(room, "sleeping")

    job = room.work()

    assert (job.state, job.reason) == (JobState.DELIVERING, "technical")


@pytest.mark.parametrize("how", ["holding", "beside"])
def test_a_decoder_that_holds_the_interpreter_is_ended_from_outside_of_it(
    room: Room, how: str
) -> None:
    room.receive(hand_radiograph())

    ended = run_hanging(room, how)

    assert ended.returncode != 0
    assert "hanging_process" in ended.stderr  # where it hung
