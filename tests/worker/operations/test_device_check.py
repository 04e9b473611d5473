from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from schemas.config import Config, StorageSection
from schemas.errors import DeviceError
from schemas.figures import Snapshot
from schemas.jobs import JobEvent, JobState
from schemas.releases import Phantom
from tests.fakes import Clock, StubEstimator
from tests.orthanc import wait_for
from tests.worker.inference.conftest import image_reader
from tests.worker.queue.makers import RETRY, arrival
from worker.app import databases, queues
from worker.app.processes import run_inference
from worker.operations.device_check import CHECKED, DeviceCheck
from worker.operations.reloading import LiveSettings
from worker.queue.audit import AuditTrail
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.figures import Figures
from worker.queue.jobs import JobQueue
from worker.queue.periodic import PeriodicRuns

KNOWN = 120.0
PHANTOM = Phantom(
    age_months=120, sex="M", digest="d", known_value_months=KNOWN, tolerance_months=0.1
)


class Site:
    """One installation, and two devices of it."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.seconds = 0.0
        self.engine = open_engine(sqlite_url(root))
        upgrade(self.engine, backup_folder=None)
        self.periodic = PeriodicRuns(self.engine, now=self.clock)

    def check(self, device: str, estimator: StubEstimator, *, hours: float = 6) -> DeviceCheck:
        queue = JobQueue(self.engine, now=self.clock, actor="infer", release="", retry=RETRY)
        return DeviceCheck(
            reader=image_reader(estimator),
            phantom=PHANTOM,
            device=device,
            every=timedelta(hours=hours),
            note=self.periodic.note,
            record=queue.record_event,
            clock=lambda: self.seconds,
        )

    def told(self) -> list[JobEvent]:
        return list(AuditTrail(self.engine, now=self.clock).list())

    def snapshot(self) -> Snapshot:
        return Figures(self.engine, now=self.clock).snapshot()

    def failed(self) -> list[str]:
        return [one.name for one in self.snapshot().periodic if one.failed_at is not None]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_each_device_is_asked_and_the_one_that_is_off_is_named(site: Site) -> None:
    site.check("cuda:0", StubEstimator(age_months=KNOWN)).run_when_due()
    site.check("cuda:1", StubEstimator(age_months=KNOWN + 3)).run_when_due()

    right, wrong = site.told()
    assert right.detail == {"device": "cuda:0", "is_right": True, "deviation_months": 0.0}
    assert wrong.detail == {"device": "cuda:1", "is_right": False, "deviation_months": 3.0}
    assert site.failed() == ["phantom cuda:1"]


def test_a_device_is_asked_at_the_start_and_then_every_so_often(site: Site) -> None:
    check = site.check("cpu", StubEstimator(age_months=KNOWN), hours=6)
    asked = []
    for hours in (0, 5.9, 6, 6.1, 12):
        site.seconds = hours * 3600
        check.run_when_due()
        asked.append(len(site.told()))

    assert asked == [1, 1, 2, 2, 3]


def test_a_device_that_is_off_reads_nothing_until_it_answers_right(site: Site) -> None:
    check = site.check("cuda:0", StubEstimator(age_months=KNOWN + 3))
    may_read = [check.run_when_due()]
    check.reader = image_reader(StubEstimator(age_months=KNOWN))
    for seconds in (299, 300, 6 * 3600):
        site.seconds = seconds
        may_read.append(check.run_when_due())

    assert may_read == [False, False, True, True]


def test_images_wait_in_the_queue_while_the_device_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(storage=StorageSection(root=tmp_path))
    databases.prepare_database(config)
    queue = queues.job_queue(config, actor="listen")
    queue.receive(arrival())
    off = image_reader(StubEstimator(age_months=KNOWN + 100))
    monkeypatch.setattr("worker.app.readers.image_reader", lambda *_, **__: off)
    stop = Event()
    infer = Thread(
        target=run_inference, args=(LiveSettings(config, load=Config), stop, "cpu"), daemon=True
    )

    infer.start()
    trail = AuditTrail(databases.engine(config), now=Clock())
    wait_for(lambda: any(one.event == CHECKED for one in trail.list()))
    stop.set()
    infer.join(20)

    assert queue.jobs()[0].state is JobState.QUEUED
    assert queue.jobs()[0].attempt == 0


def test_the_work_ends_when_the_device_is_to_be_asked_again(site: Site) -> None:
    check = site.check("cpu", StubEstimator(age_months=KNOWN), hours=1e-5)
    over = Event()
    check.run_when_due()

    with check.ending(over):
        assert over.wait(20)


def test_a_device_in_doubt_ends_its_process_and_that_is_written_down(site: Site) -> None:
    check = site.check("cuda:0", StubEstimator(error=DeviceError(fault="CUDA error")))

    with pytest.raises(DeviceError):
        check.run_when_due()

    (told,) = site.told()
    assert (told.reason, told.detail["is_right"]) == ("inference.device", False)
    assert site.failed() == ["phantom cuda:0"]


def test_where_the_check_is_switched_off_no_device_is_asked(site: Site) -> None:
    check = site.check("cpu", StubEstimator(), hours=0)
    over = Event()
    check.run_when_due()
    with check.ending(over):
        pass

    assert site.told() == []
    assert not over.is_set()


def test_a_device_that_the_settings_no_longer_name_is_forgotten(site: Site) -> None:
    site.check("cuda:1", StubEstimator(age_months=KNOWN + 3)).run_when_due()
    site.periodic.note("seal", is_success=True)

    site.periodic.forget_devices_but(["cuda:0"])

    assert [one.name for one in site.snapshot().periodic] == ["seal"]
