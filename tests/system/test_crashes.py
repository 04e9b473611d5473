"""Power cuts: every image that was acknowledged is delivered once, wherever the power went."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.jobs import JobState
from tests.builders import hand_radiograph, write_file
from tests.fakes import FakePacs
from tests.system.running import RunningWorker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # pynetdicom leaves the socket of a peer that was killed to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs() as pacs:
        yield pacs


@pytest.fixture
def worker(tmp_path: Path, pacs: FakePacs) -> Iterator[RunningWorker]:
    with RunningWorker(tmp_path / "worker", pacs_ae=pacs.ae_title, pacs_port=pacs.port) as worker:
        yield worker


def images(folder: Path, count: int) -> list[Path]:
    return [
        write_file(hand_radiograph(SOPInstanceUID=f"1.2.3.{number}"), folder / f"{number}.dcm")
        for number in range(1, count + 1)
    ]


def require_each_delivered_once(worker: RunningWorker, pacs: FakePacs, count: int) -> None:
    """Every image has one job, one report and one page, and each object is in the PACS once."""
    worker.wait_for_jobs(JobState.DELIVERED, count=count)
    jobs = worker.jobs()
    assert len(jobs) == count
    owed = {row.sop_instance_uid for job in jobs for row in job.destinations}
    assert set(pacs.stored) == owed
    modalities = Counter(dataset.Modality for dataset in pacs.stored.values())
    assert modalities == {"SR": count, "OT": count}


def test_an_image_survives_a_power_cut_right_after_its_success(
    worker: RunningWorker, pacs: FakePacs, tmp_path: Path
) -> None:
    worker.start("listen")
    assert worker.send(*images(tmp_path, 3)) == [0, 0, 0]

    worker.kill()

    worker.start()
    require_each_delivered_once(worker, pacs, 3)


def test_an_image_survives_a_power_cut_while_it_is_read(
    worker: RunningWorker, pacs: FakePacs, tmp_path: Path
) -> None:
    worker.start()
    assert worker.send(*images(tmp_path, 4)) == [0, 0, 0, 0]

    worker.kill_while(JobState.RUNNING)

    worker.start()
    require_each_delivered_once(worker, pacs, 4)


def test_several_images_in_hand_survive_a_power_cut_while_they_are_read(
    pacs: FakePacs, tmp_path: Path
) -> None:
    at_once = 3
    with RunningWorker(
        tmp_path / "worker", pacs_ae=pacs.ae_title, pacs_port=pacs.port, at_once=at_once
    ) as worker:
        worker.start("listen")
        assert worker.send(*images(tmp_path, 4)) == [0, 0, 0, 0]
        worker.kill()
        worker.start()

        worker.kill_while(JobState.RUNNING, count=2)

        worker.start()
        require_each_delivered_once(worker, pacs, 4)


def test_a_result_survives_a_power_cut_while_it_is_sent(
    worker: RunningWorker, pacs: FakePacs, tmp_path: Path
) -> None:
    pacs.hold()
    worker.start()
    assert worker.send(*images(tmp_path, 2)) == [0, 0]
    worker.wait_for_jobs(JobState.DELIVERING, count=2)
    pacs.wait_for(lambda one: one.held_count > 0, limit_seconds=60)

    worker.kill()
    pacs.let_go()

    worker.start()
    require_each_delivered_once(worker, pacs, 2)


def test_a_clean_stop_leaves_nothing_claimed(
    worker: RunningWorker, pacs: FakePacs, tmp_path: Path
) -> None:
    worker.start()
    assert worker.send(*images(tmp_path, 3)) == [0, 0, 0]
    worker.wait_for_jobs(JobState.RUNNING, count=1)

    assert worker.stop() == 0

    assert worker.jobs(JobState.RUNNING) == []
    worker.start()
    require_each_delivered_once(worker, pacs, 3)
