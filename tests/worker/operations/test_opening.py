"""What `boneage jobs show ID --open` writes."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from schemas.config import SrClass
from tests.builders import hand_radiograph
from tests.worker.inference.conftest import Room, room
from worker.operations.opening import NothingToShowError, write_job
from worker.reporting.identities import SR_CLASS_UIDS
from worker.reporting.reader import read_report
from worker.reporting.structured_report import build_structured_report

__all__ = ["room"]  # the fixture


def test_a_job_is_written_as_report_page_picture_and_documents(room: Room, tmp_path: Path) -> None:
    room.receive(hand_radiograph())
    job = room.work()

    files = write_job(room.root, job, tmp_path / "out")

    ends = ("-sr.dcm", "-sc.dcm", "-sc.png", ".pdf", ".html")
    assert [path.name for path in files] == [f"job-{job.job_id}{end}" for end in ends]
    report = read_report(dcmread(files[0]))
    assert job.bone_age_months is not None
    assert report.estimates[0].age_months == pytest.approx(job.bone_age_months, abs=0.051)
    page = np.asarray(Image.open(BytesIO(files[2].read_bytes())))
    np.testing.assert_array_equal(page, dcmread(files[1]).pixel_array)
    assert files[3].read_bytes().startswith(b"%PDF-")
    assert report.estimates[0].words in files[4].read_text(encoding="utf-8")


def test_the_reports_are_those_that_were_sent(room: Room, tmp_path: Path) -> None:
    room.receive(hand_radiograph())
    job = room.work()
    assert job.result_folder is not None
    source = room.root / job.result_folder
    sent = build_structured_report(
        room.content(job), dcmread(source / "header.dcm"), sop_class=SrClass.BASIC_TEXT
    )
    sent.save_as(source / f"sr-{SR_CLASS_UIDS[SrClass.BASIC_TEXT]}.dcm", enforce_file_format=True)

    files = write_job(room.root, job, tmp_path / "out")

    assert dcmread(files[0]).SOPInstanceUID == sent.SOPInstanceUID


def test_a_job_that_nobody_has_read_yet_has_nothing_to_open(room: Room, tmp_path: Path) -> None:
    room.receive(hand_radiograph())

    with pytest.raises(NothingToShowError, match="boneage jobs show 1"):
        write_job(room.root, room.queue.jobs()[0], tmp_path / "out")

    assert not (tmp_path / "out").exists()
