"""The heatmap alone, from the settings of a destination into its archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from schemas.config import DeliverySection, PeerSection
from schemas.jobs import JobState, JobView, ObjectKind, Outcome
from tests.builders import hand_radiograph
from tests.fakes import Clock, FakePacs
from tests.worker.inference.conftest import POLICY, RETRY, Room
from worker.delivery.deliverer import Deliverer
from worker.delivery.objects import ResultFiles
from worker.inference.worker import InferencePolicy
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox
from worker.reporting.structured_report import build_structured_report

HEATMAP_SERIES = 9903
ALL_KINDS = tuple(ObjectKind)


class House:
    """Inference and delivery over one database and one folder."""

    def __init__(self, root: Path) -> None:
        self.engine = open_engine(sqlite_url(root))
        upgrade(self.engine, backup_folder=None)
        clock = Clock()
        queue = JobQueue(self.engine, now=clock, actor="test", release="stub", retry=RETRY)
        self.room = Room(root=root, queue=queue, clock=clock)

    def send(self, image: Dataset, *peers: PeerSection) -> JobView:
        """Let the image go through to ``peers``; the first of them is its sender."""
        self.room.policy = InferencePolicy(
            rules=POLICY.rules,
            peers=peers,
            lease=POLICY.lease,
            poll_seconds=POLICY.poll_seconds,
            grace_seconds=0,
        )
        self.room.receive(image, calling_ae=peers[0].ae_title)
        job = self.room.work()
        deliverer = Deliverer(
            Outbox(self.engine, now=self.room.clock, actor="deliver"),
            peers=peers,
            ae_title="BONEAGE",
            files=ResultFiles(self.room.root, build=build_structured_report),
            section=DeliverySection(lease_seconds=60),
            now=self.room.clock,
        )
        while deliverer.run_once():
            pass
        return self.room.queue.job(job.job_id)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    yield built
    built.engine.dispose()


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs() as running:
        yield running


def pacs_peer(pacs: FakePacs, **settings: object) -> PeerSection:
    return PeerSection.model_validate(
        {"name": "pacs", "ae_title": "PACS", "port": pacs.port, **settings}
    )


def captures_in(pacs: FakePacs) -> dict[int, Dataset]:
    """Return the Secondary Captures by the number of their series."""
    return {
        int(each.SeriesNumber): each
        for each in pacs.stored.values()
        if each.SOPClassUID == SecondaryCaptureImageStorage
    }


def report_in(pacs: FakePacs) -> Dataset:
    (report,) = (each for each in pacs.stored.values() if each.Modality == "SR")
    return report


def uids_named_by(report: Dataset) -> set[str]:
    return {
        str(element.value)
        for element in report.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    }


def test_a_destination_gets_no_heatmap_alone_unless_it_asks(house: House, pacs: FakePacs) -> None:
    job = house.send(hand_radiograph(), pacs_peer(pacs))

    assert job.state is JobState.DELIVERED
    assert HEATMAP_SERIES not in captures_in(pacs)
    assert len(pacs.stored) == 2


def test_a_destination_that_asks_gets_it_and_the_report_names_it(
    house: House, pacs: FakePacs
) -> None:
    image = hand_radiograph(PatientOrientation=["L", "F"])
    job = house.send(image, pacs_peer(pacs, objects=ALL_KINDS))

    assert job.state is JobState.DELIVERED
    assert {row.kind for row in job.destinations} == set(ALL_KINDS)
    heatmap = captures_in(pacs)[HEATMAP_SERIES]
    assert heatmap.StudyInstanceUID == image.StudyInstanceUID
    assert heatmap.PatientOrientation == ["L", "F"]
    assert heatmap.SOPInstanceUID in uids_named_by(report_in(pacs))


def test_a_destination_may_want_the_heatmap_and_nothing_else(house: House, pacs: FakePacs) -> None:
    job = house.send(hand_radiograph(), pacs_peer(pacs, objects=(ObjectKind.HEATMAP,)))

    assert job.state is JobState.DELIVERED
    assert list(captures_in(pacs)) == [HEATMAP_SERIES]


def test_each_destination_gets_the_objects_that_it_asked_for(house: House, pacs: FakePacs) -> None:
    with FakePacs("ARCHIVE") as archive:
        peers = (
            pacs_peer(pacs, objects=ALL_KINDS, destinations=("pacs", "archive")),
            PeerSection(name="archive", ae_title="ARCHIVE", port=archive.port),
        )
        house.send(hand_radiograph(), *peers)

        assert len(pacs.stored) == 3
        assert len(archive.stored) == 2


def test_a_refusal_owes_nobody_a_heatmap(house: House, pacs: FakePacs) -> None:
    image = hand_radiograph(PatientBirthDate="19600101")

    job = house.send(image, pacs_peer(pacs, objects=ALL_KINDS))

    assert (job.state, job.outcome) == (JobState.DELIVERED, Outcome.REFUSED)
    assert {row.kind for row in job.destinations} == {ObjectKind.SR, ObjectKind.SC}
    assert len(pacs.stored) == 2
