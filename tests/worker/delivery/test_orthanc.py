from collections.abc import Iterator

import pytest
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from schemas.jobs import JobState
from tests.orthanc import Orthanc
from tests.worker.delivery.owing import Owing, peer


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as running:
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
