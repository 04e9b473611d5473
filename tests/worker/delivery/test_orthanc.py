from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from schemas.config import CommitmentKind, ListenerSection, PeerSection, StorageSection
from schemas.jobs import JobState
from tests.orthanc import Modality, Orthanc
from tests.worker.delivery.owing import Owing, peer
from worker.listener.scp import Listener
from worker.listener.spool import Spool


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    with Orthanc(folder, settings={"DicomAlwaysAllowFind": True}) as running:
        yield running


def test_report_and_capture_lie_in_the_study_of_the_image(owing: Owing, orthanc: Orthanc) -> None:
    job, image = owing.owe("pacs")

    owing.deliver_all(owing.deliverer(peer("pacs", orthanc.port, ae_title="ORTHANC")))

    found = orthanc.instances(image.StudyInstanceUID)
    assert {each.sop_class_uid for each in found} == {
        ComprehensiveSRStorage,
        SecondaryCaptureImageStorage,
    }
    assert owing.state(job) is JobState.DELIVERED
    files = [dcmread(path) for path in owing.root.glob("results/*/*/s[cr]*.dcm")]
    assert {each.SOPInstanceUID: each for each in files} == {
        each.sop_instance_uid: orthanc.fetch(each) for each in found
    }


def test_delivering_again_changes_nothing_that_a_reader_sees(
    owing: Owing, orthanc: Orthanc
) -> None:
    job, image = owing.owe("pacs")
    deliverer = owing.deliverer(peer("pacs", orthanc.port, ae_title="ORTHANC"))
    owing.deliver_all(deliverer)
    before = orthanc.instances(image.StudyInstanceUID)

    owing.queue.requeue(job.job_id, reason="again", deliver_only=True)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert orthanc.instances(image.StudyInstanceUID) == before


def test_an_orthanc_that_was_down_gets_its_objects_when_it_is_back(
    owing: Owing, orthanc: Orthanc
) -> None:
    job, image = owing.owe("pacs")
    deliverer = owing.deliverer(peer("pacs", orthanc.port, ae_title="ORTHANC"))
    orthanc.stop()
    owing.deliver_all(deliverer)
    assert owing.state(job) is JobState.DELIVERING

    orthanc.start()
    owing.clock.forward(minutes=1)
    owing.deliver_all(deliverer)

    assert owing.state(job) is JobState.DELIVERED
    assert len(orthanc.instances(image.StudyInstanceUID)) == 2


def test_orthanc_proves_what_it_keeps_by_storage_commitment(owing: Owing, tmp_path: Path) -> None:
    """Its report comes on a new association, to our listener (measured: after 0.2 s)."""
    archive = PeerSection(
        name="pacs", ae_title="ORTHANC", commitment=CommitmentKind.STORAGE_COMMITMENT
    )
    listener = Listener(
        ListenerSection(port=0),
        peers=[archive],
        spool=Spool(StorageSection(root=owing.root, high_mark_percent=100, low_mark_percent=99)),
        queue=owing.queue,
    )
    listener.start()
    try:
        us = {"worker": Modality("BONEAGE", listener.port)}
        with Orthanc(tmp_path / "orthanc", modalities=us) as orthanc:
            job, image = owing.owe("pacs")
            deliverer = owing.deliverer(archive.model_copy(update={"port": orthanc.port}))
            owing.deliver_all(deliverer)
            assert {row.state for row in owing.queue.job(job.job_id).destinations} == {"sent"}

            owing.clock.forward(seconds=1)
            owing.deliver_all(deliverer)

            orthanc.wait_for(lambda: owing.state(job) is JobState.DELIVERED)
            assert len(orthanc.instances(image.StudyInstanceUID)) == 2

            lost, other = owing.owe("pacs")
            owing.deliver_all(deliverer)
            orthanc.delete(orthanc.instances(other.StudyInstanceUID)[0])
            owing.clock.forward(seconds=1)
            owing.deliver_all(deliverer)
            orthanc.wait_for(
                lambda: (
                    "waiting" in {row.state for row in owing.queue.job(lost.job_id).destinations}
                )
            )

            owing.clock.forward(minutes=1)
            owing.deliver_all(deliverer)
            owing.clock.forward(seconds=1)
            owing.deliver_all(deliverer)

            orthanc.wait_for(lambda: owing.state(lost) is JobState.DELIVERED)
            assert len(orthanc.instances(other.StudyInstanceUID)) == 2
    finally:
        listener.stop()


def test_orthanc_shows_what_it_keeps_when_it_is_looked_into(owing: Owing, orthanc: Orthanc) -> None:
    archive = PeerSection(
        name="pacs", ae_title="ORTHANC", port=orthanc.port, commitment=CommitmentKind.FIND
    )
    job, _ = owing.owe("pacs")
    deliverer = owing.deliverer(archive)
    owing.deliver_all(deliverer)
    assert owing.state(job) is JobState.DELIVERING

    owing.clock.forward(seconds=1)
    owing.deliver_all(deliverer)

    events = owing.queue.events(job.job_id)
    assert owing.state(job) is JobState.DELIVERED
    assert [event.reason for event in events if event.event == "confirmed"] == ["C-FIND"] * 2
