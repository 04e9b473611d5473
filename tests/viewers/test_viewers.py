"""What a radiologist sees in viewers that she may have: OHIF, and the one that Orthanc brings."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.phantom import draw_phantom
from schemas.config import SrClass
from schemas.images import Sex
from tests.fakes import Clock, StubEstimator
from tests.orthanc import REQUIRE_PEERS
from tests.viewers import ohif
from tests.viewers.ohif import Look, browse, open_in_ohif, require_viewer, viewing_orthanc
from tests.worker.inference.conftest import image_reader
from worker.inference.estimate import Finding
from worker.inference.phantom import phantom_radiograph
from worker.inference.received import ReceivedImage, received
from worker.reporting.structured_report import build_structured_report

pytestmark = pytest.mark.slow


@pytest.fixture
def image() -> ReceivedImage:
    pixels = draw_phantom(age_months=120, sex=Sex.FEMALE)
    return received(phantom_radiograph(pixels, age_months=120, sex=Sex.FEMALE, taken_at=Clock()()))


@pytest.fixture
def finding(image: ReceivedImage) -> Finding:
    return image_reader(StubEstimator(age_months=141.0, girls_less_months=6.0)).read(image)


def looks_like(path: Path, page: NDArray[np.uint8]) -> float:
    """Return how well ``page`` is found somewhere on a screenshot, 1 at best."""
    shot = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert shot is not None
    grey = cv2.cvtColor(page, cv2.COLOR_RGB2GRAY)
    best = 0.0
    for width in range(900, 1120, 6):
        small = cv2.resize(grey, (width, width * 3 // 4), interpolation=cv2.INTER_AREA)
        if small.shape[0] <= shot.shape[0] and small.shape[1] <= shot.shape[1]:
            best = max(best, float(cv2.matchTemplate(shot, small, cv2.TM_CCOEFF_NORMED).max()))
    return best


def test_ohif_shows_the_bone_age_on_the_radiograph_with_its_page(
    image: ReceivedImage, finding: Finding, tmp_path: Path
) -> None:
    require_viewer()
    header = image.read_header()
    report = build_structured_report(finding.content, header, sop_class=SrClass.COMPREHENSIVE)
    looks = [
        Look(name="sr", thumbnail="Bone age AI report", words=("XR Bone age: ",)),
        Look(name="sc", thumbnail="Bone age AI page"),
    ]
    with viewing_orthanc(tmp_path / "orthanc") as pacs:
        for dataset in (image.dataset, report, finding.capture):
            dataset.save_as(tmp_path / "object.dcm", enforce_file_format=True)
            pacs.upload((tmp_path / "object.dcm").read_bytes())
        seen = open_in_ohif(pacs, report.StudyInstanceUID, tmp_path / "seen", looks)

    interval, assessment = finding.content.estimates[0].interval, finding.content.assessment
    assert assessment is not None
    expected = (
        "XR Bone age: 135.00 mo",
        f"Interval, lower end: {interval.low_months:.2f} mo",
        f"Interval, upper end: {interval.high_months:.2f} mo",
        "Subject Age: 120.00 mo",
        f"Z-Score of measurement: {assessment.z_score:.2f} {{SD}}",
    )
    assert [line for line in expected if line not in seen["sr"].text] == []
    assert looks_like(seen["sc"].path, finding.page) > 0.8


@pytest.mark.parametrize(
    ("peers", "ends"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_a_viewer_that_is_not_there_is_named(
    peers: str, ends: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REQUIRE_PEERS, peers)
    monkeypatch.setattr(ohif, "_DIST", tmp_path)

    with pytest.raises(ends, match="make viewer"):
        require_viewer()


def test_the_viewer_of_orthanc_shows_the_page(finding: Finding, tmp_path: Path) -> None:
    require_viewer()
    finding.capture.save_as(tmp_path / "sc.dcm", enforce_file_format=True)
    with viewing_orthanc(tmp_path / "orthanc") as pacs:
        pacs.upload((tmp_path / "sc.dcm").read_bytes())
        (series,) = pacs.get("/series")
        viewer = f"http://127.0.0.1:{pacs.http_port}/web-viewer/app/viewer.html"
        seen = browse(f"{viewer}?series={series}", tmp_path / "seen")

    assert looks_like(seen.path, finding.page) > 0.8
