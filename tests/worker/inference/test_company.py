"""Several images in hand in one process: each is read once, and none is taken down by another."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from schemas.errors import DeviceError, PermanentError
from schemas.estimates import HandImage, Reading
from schemas.jobs import Claim, JobState, Outcome
from tests.builders import another_instance, hand_pixels, hand_radiograph
from tests.fakes import StubEstimator
from tests.orthanc import wait_for
from tests.worker.inference.conftest import LEASE, Room
from tests.worker.inference.poisoned_process import POISON_LEVEL

AT_ONCE = 3
WAIT_SECONDS = 20


class SpoiltError(PermanentError):
    code = "test.spoilt"


@dataclass(frozen=True, kw_only=True)
class WaryEstimator(StubEstimator):
    """Fails on the image with the brightest pixel of all."""

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        if any(image.pixels.max() >= POISON_LEVEL for image in images):
            raise SpoiltError
        return super().read(images)


@pytest.fixture
def shared(room: Room) -> Room:
    room.policy = replace(room.policy, images_at_once=AT_ONCE, grace_seconds=60)
    return room


def receive(room: Room, count: int) -> None:
    first = hand_radiograph()
    for _ in range(count):
        room.receive(another_instance(first))


def receive_poison(room: Room) -> None:
    pixels = hand_pixels()
    pixels[0, 0] = POISON_LEVEL
    room.receive(another_instance(hand_radiograph(pixels, BitsStored=12)))


def states(room: Room) -> Counter[JobState]:
    return Counter(job.state for job in room.queue.jobs())


def read_until(
    room: Room, is_done: Callable[[], bool], estimator: StubEstimator | None = None
) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(room.worker(estimator).run, stop)
        try:
            wait_for(is_done, limit_seconds=WAIT_SECONDS, while_true=lambda: _still(running.done()))
        finally:
            stop.set()
        running.result(WAIT_SECONDS)


def _still(has_ended: bool) -> None:  # noqa: FBT001 - one
    assert not has_ended, "the worker has ended"


def test_so_many_images_are_read_side_by_side(shared: Room) -> None:
    receive(shared, AT_ONCE * 2)
    together = threading.Barrier(AT_ONCE)

    def meet() -> None:
        together.wait(WAIT_SECONDS)

    read_until(
        shared,
        lambda: states(shared)[JobState.DELIVERING] == AT_ONCE * 2,
        StubEstimator(before_read=meet),
    )

    told = Counter(
        event.event for job in shared.queue.jobs() for event in shared.queue.events(job.job_id)
    )
    assert (told["claimed"], told["settled"]) == (AT_ONCE * 2, AT_ONCE * 2)


def test_an_image_that_fails_fails_alone(shared: Room) -> None:
    receive(shared, 2)
    receive_poison(shared)
    receive(shared, 2)

    read_until(shared, lambda: states(shared)[JobState.DELIVERING] == 5, WaryEstimator())

    told = [(job.outcome, job.reason) for job in shared.queue.jobs()]
    assert Counter(told) == {(Outcome.ESTIMATED, None): 4, (Outcome.REFUSED, "technical"): 1}


def test_a_failing_device_ends_the_process_after_giving_all_jobs_back(shared: Room) -> None:
    receive(shared, AT_ONCE + 1)
    together = threading.Barrier(AT_ONCE)

    def meet() -> None:
        together.wait(WAIT_SECONDS)

    failing = StubEstimator(error=DeviceError(fault="lost"), before_read=meet)

    with pytest.raises(DeviceError, match="lost"):
        shared.worker(failing).run(threading.Event())

    assert states(shared) == {JobState.QUEUED: AT_ONCE + 1}
    assert Counter(job.attempt for job in shared.queue.jobs()) == {1: AT_ONCE, 0: 1}


def test_a_stop_without_time_gives_back_all_that_is_in_hand(shared: Room) -> None:
    shared.policy = replace(shared.policy, grace_seconds=0)
    receive(shared, AT_ONCE)
    stop, released = threading.Event(), threading.Semaphore(0)
    is_free = threading.Event()
    release = shared.queue.release

    def release_and_tell(claim: Claim, *, reason: str = "clean stop") -> None:
        release(claim, reason=reason)
        released.release()

    shared.queue.release = release_and_tell  # type: ignore[method-assign]  # to hear of it
    together = threading.Barrier(AT_ONCE)

    def be_stopped() -> None:
        together.wait(WAIT_SECONDS)
        stop.set()
        assert is_free.wait(WAIT_SECONDS)

    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(shared.worker(StubEstimator(before_read=be_stopped)).run, stop)
        assert all(released.acquire(timeout=WAIT_SECONDS) for _ in range(AT_ONCE))
        is_free.set()
        running.result(WAIT_SECONDS)

    assert Counter((job.state, job.attempt) for job in shared.queue.jobs()) == {
        (JobState.QUEUED, 0): AT_ONCE
    }


def test_an_idle_process_looks_for_work_once_however_many_it_reads_at_once(
    shared: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.policy = replace(shared.policy, poll_seconds=60)
    looks, stop = [], threading.Event()
    has_looked = threading.Event()

    def look(*, lease: timedelta) -> None:
        looks.append(lease)
        has_looked.set()

    monkeypatch.setattr(shared.queue, "claim", look)

    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(shared.worker().run, stop)
        assert has_looked.wait(WAIT_SECONDS)
        stop.set()
        running.result(WAIT_SECONDS)

    assert len(looks) == 1


def test_an_image_that_comes_back_is_read_alone(shared: Room) -> None:
    receive(shared, 4)
    for _ in range(2):
        assert shared.queue.claim(lease=LEASE) is not None
    shared.clock.forward(minutes=2)
    assert shared.queue.rescue() == 2
    company: list[tuple[int, int]] = []  # how many came back, of how many in hand

    def look_round() -> None:
        running = shared.queue.jobs(states=(JobState.RUNNING,))
        company.append((sum(job.attempt > 1 for job in running), len(running)))

    read_until(
        shared,
        lambda: states(shared)[JobState.DELIVERING] == 4,
        StubEstimator(before_read=look_round),
    )

    assert company.count((1, 1)) == 2
    assert all(back == 0 for back, _ in company if (back, _) != (1, 1))


@pytest.mark.timeout(300)
def test_an_image_that_ends_its_worker_twice_takes_no_other_down(room: Room) -> None:
    receive(room, 2)
    receive_poison(room)
    receive(room, 2)
    ends = []
    program = [sys.executable, "-m", "tests.worker.inference.poisoned_process"]

    for _ in range(3):
        command = [*program, str(room.root), room.clock().isoformat()]
        ends.append(subprocess.run(command, check=False, timeout=120).returncode)
        room.clock.forward(minutes=2)
        room.queue.rescue()

    assert ends == [os.EX_SOFTWARE, os.EX_SOFTWARE, 0]
    told = Counter((job.outcome, job.reason) for job in room.queue.jobs())
    assert told == {(Outcome.ESTIMATED, None): 4, (Outcome.REFUSED, "technical"): 1}
