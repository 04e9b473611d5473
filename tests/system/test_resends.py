"""The table of resends, row by row: what arrives again, from the socket to the PACS and back."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)
from sqlalchemy import Engine

from schemas.config import DeliverySection, IntakeRule, ListenerSection, PeerSection, StorageSection
from schemas.jobs import JobEvent, JobState, JobView, OutboxState
from tests.builders import another_instance, hand_pixels, hand_radiograph, write_file
from tests.fakes import Clock, FakePacs, StubEstimator
from tests.worker.inference.conftest import POLICY, RETRY, image_reader
from tests.worker.listener.sending import store
from worker.delivery.deliverer import Deliverer
from worker.delivery.objects import ResultFiles
from worker.inference.worker import InferencePolicy, InferenceWorker
from worker.listener.scp import Listener
from worker.listener.spool import Spool
from worker.queue.audit import AuditTrail
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox
from worker.reporting.structured_report import build_structured_report

NOTHING_WANTED = replace(POLICY, rules=(IntakeRule(name="none", words=("never",)),))
SILENT_ABOUT_FAILURES = replace(POLICY, report_technical_failures=False)
READING = StubEstimator(age_months=None)


@dataclass
class House:
    """A listener, a worker and a deliverer around one database, and the PACS beside them."""

    root: Path
    clock: Clock
    engine: Engine
    queue: JobQueue
    listener: Listener
    pacs: FakePacs
    policy: InferencePolicy = POLICY
    estimator: StubEstimator = READING
    sent: int = 0

    def send(self, dataset: Dataset, *, syntax: UID = ExplicitVRLittleEndian) -> int | None:
        """Send an object as the PACS does; return the status."""
        self.sent += 1
        path = self.root / "sent" / f"{self.sent}.dcm"
        (status,) = store(self.listener.port, write_file(dataset, path, transfer_syntax=syntax))
        return status

    def work(self) -> JobView:
        """Estimate and deliver all that waits; return the newest job."""
        worker = InferenceWorker(
            self.queue,
            image_reader(self.estimator, clock=self.clock),
            root=self.root,
            policy=self.policy,
        )
        deliverer = Deliverer(
            Outbox(self.engine, now=self.clock, actor="deliver"),
            peers=[PeerSection(name="pacs", ae_title="PACS", port=self.pacs.port)],
            ae_title="BONEAGE",
            files=ResultFiles(self.root, build=build_structured_report),
            section=DeliverySection(poll_seconds=0.02),
            now=self.clock,
        )
        self.clock.forward(minutes=2)
        while worker.run_once():
            self.clock.forward(minutes=2)
        while deliverer.run_once():
            pass
        return self.job

    @property
    def job(self) -> JobView:
        (job,) = self.queue.jobs()
        return job

    @property
    def receptions(self) -> list[str]:
        """Return the state of every distinct content, oldest first."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT state FROM receptions ORDER BY id"))
            return [row.state for row in rows]

    @property
    def kept(self) -> int:
        return len(list((self.root / "spool").rglob("*.dcm")))

    @property
    def events(self) -> list[JobEvent]:
        return list(AuditTrail(self.engine, now=self.clock).list())

    def reports(self) -> list[Dataset]:
        """Return the reports that the PACS took, oldest first."""
        requests = [one for one in self.pacs.requests if one.dataset.Modality == "SR"]
        return [one.dataset for one in requests]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    engine = open_engine(sqlite_url(tmp_path))
    upgrade(engine, backup_folder=None)
    clock = Clock()
    queue = JobQueue(engine, now=clock, actor="test", release="stub", retry=RETRY)
    listener = Listener(
        ListenerSection(port=0),
        peers=[PeerSection(name="pacs", ae_title="PACS")],
        spool=Spool(StorageSection(root=tmp_path, high_mark_percent=100)),
        queue=queue,
    )
    listener.start()
    with FakePacs() as pacs:
        yield House(
            root=tmp_path, clock=clock, engine=engine, queue=queue, listener=listener, pacs=pacs
        )
    listener.stop()
    engine.dispose()


@pytest.fixture
def image() -> Dataset:
    return hand_radiograph()


@pytest.fixture
def delivered(house: House, image: Dataset) -> JobView:
    """Return the job of an image whose results the PACS has."""
    assert house.send(image) == 0x0000
    job = house.work()
    assert job.state is JobState.DELIVERED
    return job


# new UID


def test_a_new_image_is_one_reception_and_one_job(house: House, image: Dataset) -> None:
    assert house.send(image) == 0x0000

    assert (house.job.state, house.receptions, house.kept) == (JobState.QUEUED, ["kept"], 1)
    job = house.work()
    assert (job.state, job.revision) == (JobState.DELIVERED, 1)
    assert [one.dataset.Modality for one in house.pacs.requests].count("SR") == 1


# same UID, same digest


def test_the_same_bytes_after_delivery_change_nothing(
    house: House, image: Dataset, delivered: JobView
) -> None:
    before = house.pacs.requests

    assert house.send(image) == 0x0000

    assert house.work() == delivered
    assert (house.receptions, house.kept, house.pacs.requests) == (["kept"], 1, before)


def test_the_same_bytes_revive_a_failed_job(house: House, image: Dataset) -> None:
    house.send(image)
    house.estimator, house.policy = StubEstimator(error=OSError()), SILENT_ABOUT_FAILURES
    assert house.work().state is JobState.FAILED
    house.estimator, house.policy = READING, POLICY

    assert house.send(image) == 0x0000

    assert house.job.state is JobState.QUEUED
    require_resend_in_the_trail(house)
    assert house.work().state is JobState.DELIVERED
    assert (house.receptions, house.kept) == (["kept"], 1)


def test_the_same_bytes_revive_an_ignored_job(house: House, image: Dataset) -> None:
    house.policy = NOTHING_WANTED
    house.send(image)
    assert house.work().state is JobState.IGNORED
    house.policy = POLICY

    assert house.send(image) == 0x0000

    require_resend_in_the_trail(house)
    assert house.work().state is JobState.DELIVERED


def test_the_same_bytes_revive_a_cancelled_job(house: House, image: Dataset) -> None:
    house.send(image)
    house.queue.cancel(house.job.job_id, reason="test")

    assert house.send(image) == 0x0000

    require_resend_in_the_trail(house)
    assert house.work().state is JobState.DELIVERED


def require_resend_in_the_trail(house: House) -> None:
    assert "resent by PACS" in [event.reason for event in house.queue.events(house.job.job_id)]


# same pixels, other facts


@pytest.mark.parametrize(
    "change",
    [
        {"PatientSex": "M"},
        {"PatientBirthDate": "20140305"},
        {"PatientID": "4712"},
        {"StudyDate": "20260106"},
    ],
    ids=str,
)
def test_corrected_facts_make_a_report_that_supersedes_the_old_one(
    house: House, image: Dataset, delivered: JobView, change: dict[str, object]
) -> None:
    corrected = another_instance(image, **change)
    corrected.SOPInstanceUID = image.SOPInstanceUID
    corrected.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID

    assert house.send(corrected) == 0x0000

    job = house.work()
    assert (job.job_id, job.state, job.revision) == (delivered.job_id, JobState.DELIVERED, 2)
    assert house.receptions == ["kept", "kept"]
    old, new = house.reports()
    assert new.SOPInstanceUID != old.SOPInstanceUID
    superseded = {
        str(instance.ReferencedSOPInstanceUID)
        for study in new.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert old.SOPInstanceUID in superseded
    for keyword, value in change.items():
        assert keyword not in new or new[keyword].value == value


# same pixels, only other encoding or irrelevant header


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name
)
def test_another_encoding_is_kept_and_nothing_is_sent(
    house: House, image: Dataset, delivered: JobView, syntax: UID
) -> None:
    before = house.pacs.requests

    assert house.send(image, syntax=syntax) == 0x0000

    require_unchanged(house, delivered)
    assert (house.receptions, house.kept) == (["kept", "kept"], 2)
    assert house.pacs.requests == before


def test_an_irrelevant_change_is_kept_and_nothing_is_sent(
    house: House, image: Dataset, delivered: JobView
) -> None:
    before = house.pacs.requests
    image.StationName = "ROOM 2"

    assert house.send(image) == 0x0000

    require_unchanged(house, delivered)
    assert house.receptions == ["kept", "kept"]
    assert house.pacs.requests == before


def require_unchanged(house: House, delivered: JobView) -> None:
    job = house.work()
    assert (job.state, job.revision) == (JobState.DELIVERED, 1)
    assert job.bone_age_months == delivered.bone_age_months
    assert "unchanged" in [event.event for event in house.queue.events(job.job_id)]


# same UID, other pixels


def test_other_pixels_are_a_success_set_aside_for_a_person(
    house: House, image: Dataset, delivered: JobView
) -> None:
    before = house.pacs.requests
    pixels = np.flip(hand_pixels(), axis=1).copy()
    other = hand_radiograph(pixels, BitsStored=12, SOPInstanceUID=image.SOPInstanceUID)

    assert house.send(other) == 0x0000

    job = house.work()
    assert (job.state, job.revision) == (JobState.DELIVERED, 1)
    assert job.bone_age_months == delivered.bone_age_months
    assert (house.receptions, house.kept) == (["kept", "quarantined"], 2)
    assert "quarantined" in [event.event for event in house.queue.events(job.job_id)]
    assert house.pacs.requests == before


def test_the_first_image_sent_again_after_another_one_is_still_the_first(
    house: House, image: Dataset, delivered: JobView
) -> None:
    pixels = np.flip(hand_pixels(), axis=1).copy()
    house.send(hand_radiograph(pixels, BitsStored=12, SOPInstanceUID=image.SOPInstanceUID))
    house.work()

    assert house.send(image) == 0x0000

    assert house.work().bone_age_months == delivered.bone_age_months
    assert house.receptions == ["kept", "quarantined"]


# our own objects


def test_a_page_of_ours_that_is_routed_back_is_a_success_that_keeps_nothing(
    house: House, delivered: JobView
) -> None:
    owed = {row.sop_instance_uid for row in delivered.destinations}
    (page,) = (one.dataset for one in house.pacs.requests if one.dataset.Modality == "OT")
    assert page.SOPInstanceUID in owed

    assert house.send(page) == 0x0000

    require_nothing_kept(house, event="own_object_returned")
    assert house.work() == delivered


def test_a_page_of_ours_under_a_new_uid_is_known_by_its_equipment(
    house: House, delivered: JobView
) -> None:
    (page,) = (one.dataset for one in house.pacs.requests if one.dataset.Modality == "OT")
    copied = another_instance(page, SeriesInstanceUID=generate_uid())

    assert house.send(copied) == 0x0000

    require_nothing_kept(house, event="own_object_returned")
    assert house.work() == delivered


def test_a_report_of_ours_that_is_routed_back_is_a_success_that_keeps_nothing(
    house: House, delivered: JobView
) -> None:
    assert all(row.state is OutboxState.CONFIRMED for row in delivered.destinations)
    (report,) = house.reports()

    assert house.send(report) == 0x0000

    require_nothing_kept(house, event="own_object_returned")
    assert house.work() == delivered


# cannot be parsed


def test_what_cannot_be_parsed_is_told_so_and_not_kept(
    house: House, image: Dataset, tmp_path: Path
) -> None:
    path = write_file(image, tmp_path / "cut.dcm")
    path.write_bytes(path.read_bytes()[:601])

    assert store(house.listener.port, path) == [0xC000]

    (event,) = house.events
    assert (event.event, event.reason) == ("refused", "receive.unreadable")
    assert event.detail["sop_instance_uid"] == image.SOPInstanceUID
    assert (house.queue.jobs(), house.receptions, house.kept) == ([], [], 0)


def require_nothing_kept(house: House, *, event: str) -> None:
    assert house.events[-1].event == event
    assert (house.receptions, house.kept) == (["kept"], 1)
