from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.builders import another_instance, hand_radiograph, write_file
from tests.fakes import FakePacs
from tests.orthanc import Modality, Orthanc


def test_a_radiograph_is_routed_to_the_worker_but_nothing_else_is(tmp_path: Path) -> None:
    image = hand_radiograph()
    page = another_instance(hand_radiograph(Modality="OT"), StudyInstanceUID=generate_uid())
    with (
        FakePacs("BONEAGE") as worker,
        Orthanc(
            tmp_path / "orthanc",
            modalities={"worker": Modality("BONEAGE", worker.port)},
            route_to="worker",
        ) as pacs,
    ):
        pacs.upload(write_file(page, tmp_path / "page.dcm").read_bytes())
        pacs.upload(write_file(image, tmp_path / "image.dcm").read_bytes())

        worker.wait_for(lambda each: len(each.stored) == 1)

        assert worker.stored[image.SOPInstanceUID] == dcmread(tmp_path / "image.dcm")
        assert worker.requests[0].calling_ae == "ORTHANC"
        assert pacs.count() == 2
