"""The whole loop with a real PACS: storescu, Orthanc, our worker, and back into the study."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from schemas.jobs import JobState, Outcome
from tests.orthanc import Modality, Orthanc, free_port, require_program
from tests.system.radiographs import (
    CANARY_ID,
    CANARY_NAME,
    SentFile,
    storescu,
    write_radiographs,
)
from tests.system.running import ROOT, RunningWorker
from worker.reporting.reader import RecoveredReport, read_report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AUTOROUTE = ROOT / "deploy" / "orthanc" / "autoroute.lua"
OBJECTS_OF_A_STUDY = 3  # the image, its report, its page


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """What stood in the PACS for one image in the end."""

    sent: SentFile
    reports: list[FileDataset]
    captures: list[FileDataset]

    @property
    def report(self) -> RecoveredReport:
        return read_report(self.reports[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One run of the loop with all images, and everything that it left behind."""

    folder: Path
    worker: RunningWorker
    returned: list[Returned]


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoundTrip]:
    folder = tmp_path_factory.mktemp("round-trip")
    files = write_radiographs(folder / "modality")
    worker_port = free_port()
    pacs = Orthanc(
        folder / "pacs",
        modalities={"boneage": Modality("BONEAGE", worker_port)},
        settings={"LuaScripts": [str(AUTOROUTE)]},
    )
    worker = RunningWorker(
        folder / "worker", pacs_ae=pacs.ae_title, pacs_port=pacs.port, port=worker_port
    )
    with worker, pacs:
        worker.start()
        for file in files:
            storescu(file, port=pacs.port, called_ae=pacs.ae_title)
        pacs.wait_for(lambda: pacs.count() >= OBJECTS_OF_A_STUDY * len(files), limit_seconds=300)
        worker.wait_for_jobs(JobState.DELIVERED, count=len(files))
        yield RoundTrip(
            folder=folder, worker=worker, returned=[_returned(pacs, file) for file in files]
        )
        assert worker.stop() == 0


def _returned(pacs: Orthanc, file: SentFile) -> Returned:
    objects = [pacs.fetch(one) for one in pacs.instances(file.study_instance_uid)]
    return Returned(
        sent=file,
        reports=[one for one in objects if one.Modality == "SR"],
        captures=[one for one in objects if one.Modality == "OT"],
    )


def test_every_image_gets_one_report_in_its_own_study(trip: RoundTrip) -> None:
    for one in trip.returned:
        (report,) = one.reports
        assert report.StudyInstanceUID == one.sent.study_instance_uid
        assert one.sent.sop_instance_uid in read_report(report).image_uids


def test_every_image_gets_one_page_in_its_own_study(trip: RoundTrip) -> None:
    for one in trip.returned:
        (capture,) = one.captures
        assert capture.StudyInstanceUID == one.sent.study_instance_uid
        source = capture.SourceImageSequence[0].ReferencedSOPInstanceUID
        assert source == one.sent.sop_instance_uid


def test_results_belong_to_the_patient_of_the_image(trip: RoundTrip) -> None:
    for number, one in enumerate(trip.returned, start=1):
        for dataset in (*one.reports, *one.captures):
            assert dataset.PatientID == f"{CANARY_ID}-{number}"
            assert str(dataset.PatientName) == CANARY_NAME
            assert dataset.PatientBirthDate == one.sent.birth_date


def test_dciodvfy_finds_no_error_in_any_result(trip: RoundTrip) -> None:
    program = require_program("dciodvfy")
    for number, one in enumerate(trip.returned):
        for dataset in (*one.reports, *one.captures):
            path = trip.folder / f"{number}-{dataset.Modality}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            found = subprocess.run(
                [program, "-new", str(path)], capture_output=True, text=True, check=False
            )
            errors = [line for line in found.stderr.splitlines() if line.startswith("Error")]
            assert errors == [], path.name


def test_the_report_says_what_estimate_says_of_the_same_file(trip: RoundTrip) -> None:
    files = [str(one.sent.path) for one in trip.returned]
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "estimate", *files, "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=300,
    )
    expected = {record["file"]: record for record in json.loads(ended.stdout)}

    for one in trip.returned:
        record = expected[str(one.sent.path)]
        said = [estimate["bone_age_months"] for estimate in record["estimates"]]
        reported = [estimate.age_months for estimate in one.report.estimates]
        assert reported == pytest.approx(said, abs=0.1)  # a report is rounded to a tenth
        assert one.report.reason == record["reason"]


def test_most_real_radiographs_are_read_and_not_refused(trip: RoundTrip) -> None:
    read = [one for one in trip.returned if one.report.outcome is Outcome.ESTIMATED]

    assert len(read) >= 12


def test_an_inverted_twin_gets_the_same_age(trip: RoundTrip) -> None:
    by_image: dict[str, list[float]] = {}
    for one in trip.returned:
        ages = [estimate.age_months for estimate in one.report.estimates]
        by_image.setdefault(one.sent.sending.image, []).extend(ages)
    twins = [ages for ages in by_image.values() if len(ages) > 1]

    assert len(twins) == 2
    for upright, inverted in twins:
        assert inverted == pytest.approx(upright, abs=0.5)  # months


def test_every_job_is_delivered_to_the_sender(trip: RoundTrip) -> None:
    records = trip.worker.json("jobs", "list")

    assert {record["state"] for record in records} == {"delivered"}
    assert len(records) == len(trip.returned)
    for record in records:
        sent = [(one["destination"], one["kind"], one["state"]) for one in record["destinations"]]
        assert sorted(sent) == [("pacs", "SC", "confirmed"), ("pacs", "SR", "confirmed")]


def test_the_audit_trail_of_the_run_is_whole(trip: RoundTrip) -> None:
    assert trip.worker.command("audit", "seal").returncode == 0
    assert trip.worker.json("audit", "verify") == []


def test_nothing_that_we_write_beside_the_images_names_the_patient(trip: RoundTrip) -> None:
    root = trip.worker.config().storage.root
    words = [
        trip.worker.command(*command).stdout
        for command in (("jobs", "list"), ("jobs", "show", "1"), ("audit", "list"))
    ]
    ours = [
        path
        for path in trip.worker.folder.rglob("*")
        if path.is_file() and path.suffix != ".dcm"  # images and results are the patient's own
    ]
    written = {path.name: path.read_bytes() for path in ours}
    canaries = [b"canary", CANARY_ID.encode().lower()]
    canaries += [one.sent.birth_date.encode() for one in trip.returned]

    assert "boneage.sqlite" in written
    assert "worker.log" in written
    assert "content.json" in written
    assert (root / "boneage.sqlite").stat().st_size > 0
    for name, content in {**written, "stdout": "".join(words).encode()}.items():
        found = [canary for canary in canaries if canary in content.lower()]
        assert found == [], name
