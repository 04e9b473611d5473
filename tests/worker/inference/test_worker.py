import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from schemas.config import IntakeRule, RefusalObjects, SrClass
from schemas.errors import (
    DatabaseUnavailableError,
    DeviceError,
    PermanentError,
    TransientError,
)
from schemas.estimates import GateVerdict
from schemas.jobs import Claim, JobState, JobView, NewResult, ObjectKind, Outcome
from schemas.refusals import RefusalReason
from schemas.results import CAPTURE_FILE, CONTENT_FILE, HEADER_FILE
from tests.builders import ABSENT, another_instance, hand_pixels, hand_radiograph, real_file
from tests.fakes import MAY_BE_READ, StubEstimator
from tests.orthanc import wait_for
from tests.worker.inference.conftest import Room
from worker.reporting.structured_report import build_structured_report

REPOSITORY = Path(__file__).parents[3]
NOT_A_HAND = GateVerdict(
    refusal=RefusalReason.NOT_A_HAND, keyword="shape", found="0.1", expected="a hand"
)


def report_of(room: Room, job: JobView) -> Dataset:
    """Build the report as delivery does, from the files of the result, and read it back."""
    assert job.result_folder is not None
    header = dcmread(room.root / job.result_folder / HEADER_FILE)
    report = build_structured_report(room.content(job), header, sop_class=SrClass.COMPREHENSIVE)
    report.save_as(room.root / "sr.dcm", enforce_file_format=True)
    return dcmread(room.root / "sr.dcm")


class BusyError(TransientError):
    code = "test.busy"


class SpoiltError(PermanentError):
    code = "test.spoilt"


# an estimate


def test_an_image_becomes_a_result_on_disk_with_its_orders(room: Room) -> None:
    room.receive(hand_radiograph())

    job = room.work()

    assert (job.state, job.outcome) == (JobState.DELIVERING, Outcome.ESTIMATED)
    assert job.bone_age_months == 114  # what the stub says of a girl
    assert (job.sex, job.sex_source) == ("F", "patient_sex")
    assert [(each.destination, each.kind) for each in job.destinations] == [
        ("pacs", ObjectKind.SR),
        ("pacs", ObjectKind.SC),
    ]
    assert job.result_folder is not None
    files = {path.name for path in (room.root / job.result_folder).iterdir()}
    assert files == {CONTENT_FILE, HEADER_FILE, CAPTURE_FILE}


def test_the_content_on_disk_says_what_the_queue_was_told(room: Room) -> None:
    room.receive(hand_radiograph())

    job = room.work()

    content = room.content(job)
    assert content.estimates[0].age_months == job.bone_age_months
    assert content.revision == job.revision == 1
    assert content.source.sop_instance_uid == job.sop_instance_uid
    assert content.created_at.utcoffset() is not None


def test_the_capture_lands_in_the_study_of_the_image(room: Room) -> None:
    source = hand_radiograph()
    room.receive(source)

    job = room.work()

    assert job.result_folder is not None
    capture = dcmread(room.root / job.result_folder / CAPTURE_FILE)
    assert capture.StudyInstanceUID == source.StudyInstanceUID
    assert capture.PatientID == source.PatientID
    assert capture.SeriesInstanceUID != source.SeriesInstanceUID


def test_all_results_are_written_before_the_queue_hears_of_them(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.receive(hand_radiograph())
    seen: list[set[str]] = []
    settle = room.queue.settle

    def look_then_settle(claim: object, result: object) -> None:
        folder = room.root / result.result_folder  # type: ignore[attr-defined]  # any NewResult
        seen.append({path.name for path in folder.iterdir()})
        settle(claim, result)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(room.queue, "settle", look_then_settle)

    room.work()

    assert seen == [{CONTENT_FILE, HEADER_FILE, CAPTURE_FILE}]


def test_without_sex_both_estimates_are_made_and_no_headline(room: Room) -> None:
    room.receive(hand_radiograph(PatientSex=""))

    job = room.work()

    assert (job.bone_age_months, job.interval_months, job.sex) == (None, None, None)
    assert [each.sex for each in room.content(job).estimates] == ["F", "M"]


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
    ],
)
def test_an_attribute_that_is_absent_breaks_neither_result_nor_report(
    room: Room, keyword: str
) -> None:
    room.receive(hand_radiograph(**{keyword: ABSENT}))

    job = room.work()

    assert (job.state, job.outcome) == (JobState.DELIVERING, Outcome.ESTIMATED)
    assert report_of(room, job).StudyInstanceUID == job.study_instance_uid


@pytest.mark.parametrize("verdict", [MAY_BE_READ, NOT_A_HAND], ids=["read", "refused"])
def test_odd_values_in_the_header_break_neither_result_nor_report(
    room: Room, verdict: GateVerdict
) -> None:
    odd = hand_radiograph(
        PatientSex="female",
        PatientBirthDate="2015",
        StudyTime="noon",
        PatientAge="ten",
        SpecificCharacterSet="ISO_IR 100",
    )
    room.receive(odd)

    job = room.work(StubEstimator(verdict=verdict))

    assert job.state is JobState.DELIVERING
    assert report_of(room, job).SOPInstanceUID


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=lambda each: each.name)
def test_a_compressed_image_gives_the_number_of_the_plain_one(room: Room, syntax: str) -> None:
    from_pixels = StubEstimator(age_months=None)
    source = hand_radiograph()
    room.receive(source)
    plain = room.work(from_pixels)

    room.receive(another_instance(source), syntax=syntax)  # type: ignore[arg-type]  # a UID
    compressed = room.work(from_pixels)

    assert compressed.job_id != plain.job_id
    assert compressed.bone_age_months == plain.bone_age_months


# what is not read


def test_an_image_that_no_rule_wants_is_ignored(room: Room) -> None:
    room.receive(hand_radiograph(StudyDescription="XR HAND"))

    job = room.work()

    assert (job.state, job.reason) == (JobState.IGNORED, "no_rule")
    assert job.destinations == ()


def test_an_unsuitable_image_is_refused_and_the_refusal_goes_out(room: Room) -> None:
    room.receive(hand_radiograph())

    job = room.work(StubEstimator(verdict=NOT_A_HAND))

    assert (job.state, job.outcome) == (JobState.DELIVERING, Outcome.REFUSED)
    assert job.reason == "not_a_hand"
    assert job.bone_age_months is None
    assert len(job.destinations) == 2
    assert room.content(job).reason_detail == "shape: 0.1"
    assert room.content(job).estimates == ()


def test_an_object_without_pixels_is_refused(room: Room) -> None:
    room.receive(hand_radiograph(PixelData=ABSENT, Rows=ABSENT, Columns=ABSENT))

    job = room.work()

    assert (job.outcome, job.reason) == (Outcome.REFUSED, "no_pixel_data")


def test_a_refusal_is_not_sent_where_the_settings_say_none(room: Room) -> None:
    room.policy = replace(room.policy, refusals=RefusalObjects.NONE)
    room.receive(hand_radiograph())

    job = room.work(StubEstimator(verdict=NOT_A_HAND))

    assert (job.state, job.outcome) == (JobState.DELIVERED, Outcome.REFUSED)
    assert job.destinations == ()


def test_a_sender_without_a_destination_fails_with_the_mend(room: Room) -> None:
    room.receive(hand_radiograph(), calling_ae="STRANGER")

    job = room.work()

    assert (job.state, job.reason) == (JobState.FAILED, "intake.no_destination")
    assert job.error is not None
    assert "[[peer]]" in job.error


@pytest.mark.parametrize(
    "name",
    [
        "RG1_J2KI.dcm",
        "RG2_RLE.dcm",
        "RG3_RLE.dcm",
        "gdcm-CR-MONO1-10-chest.dcm",
        "highdicom_dx_image.dcm",
        "txrv_Fake_MONOHR1.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # their headers are odd; pydicom says so
def test_a_real_radiograph_with_an_odd_header_ends_in_a_result(room: Room, name: str) -> None:
    everything = IntakeRule(name="all", modalities=(), secondary_capture=True)
    room.policy = replace(room.policy, rules=(everything,))
    source = dcmread(real_file(f"dicom_not_hand/{name}"))
    room.receive(source, syntax=source.file_meta.TransferSyntaxUID)

    job = room.work(StubEstimator(verdict=NOT_A_HAND))

    assert (job.state, job.outcome) == (JobState.DELIVERING, Outcome.REFUSED)
    assert job.reason in {"not_a_hand", "age_outside_range", "contradiction"}
    assert report_of(room, job).StudyInstanceUID == source.StudyInstanceUID


# what goes wrong


def test_a_transient_error_is_tried_again(room: Room) -> None:
    room.receive(hand_radiograph())

    first = room.work(StubEstimator(error=BusyError("busy")))
    second = room.work()

    assert (first.state, second.state) == (JobState.QUEUED, JobState.DELIVERING)
    assert second.attempt == 2


def test_after_the_last_attempt_the_radiologist_hears_of_a_technical_failure(room: Room) -> None:
    room.receive(hand_radiograph())

    states = [room.work(StubEstimator(error=BusyError("busy"))).state for _ in range(3)]

    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.DELIVERING]
    job = room.queue.jobs()[0]
    assert (job.outcome, job.reason) == (Outcome.REFUSED, "technical")
    assert room.content(job).reason_detail == "test.busy"
    assert job.error == "test.busy: busy"


def test_a_technical_failure_is_superseded_by_a_later_success(room: Room) -> None:
    room.receive(hand_radiograph())
    failed = room.work(StubEstimator(error=SpoiltError("spoilt")))
    room.queue.cancel(failed.job_id, reason="test")
    room.queue.requeue(failed.job_id, reason="mended")

    job = room.work()

    assert failed.reason == "technical"
    assert (job.outcome, job.revision) == (Outcome.ESTIMATED, 2)


def test_without_technical_reports_the_job_fails_alone(room: Room) -> None:
    room.policy = replace(room.policy, report_technical_failures=False)
    room.receive(hand_radiograph())

    job = room.work(StubEstimator(error=SpoiltError("It is spoilt.")))

    assert (job.state, job.reason, job.error) == (JobState.FAILED, "test.spoilt", "It is spoilt.")


def test_a_bug_fails_with_its_place_but_not_its_text(room: Room) -> None:
    room.policy = replace(room.policy, report_technical_failures=False)
    room.receive(hand_radiograph())

    job = room.work(StubEstimator(error=KeyError("Canary^Bird")))

    assert (job.state, job.reason) == (JobState.FAILED, "bug.KeyError")
    assert job.error is not None
    assert "fakes.py" in job.error
    assert "Canary" not in job.error


def test_a_failing_device_ends_the_process_after_giving_the_job_back(room: Room) -> None:
    room.receive(hand_radiograph())

    with pytest.raises(DeviceError):
        room.worker(StubEstimator(error=DeviceError(fault="lost"))).run_once()

    assert room.queue.jobs()[0].state is JobState.QUEUED


def test_an_image_that_is_gone_from_the_spool_fails_with_the_mend(room: Room) -> None:
    room.receive(hand_radiograph())
    (room.root / "spool/1.dcm").unlink()

    job = room.work()

    assert (job.state, job.reason) == (JobState.FAILED, "spool.missing")


def test_a_broken_file_in_the_spool_fails(room: Room) -> None:
    room.receive(hand_radiograph())
    (room.root / "spool/1.dcm").write_bytes(b"not DICOM" * 100)

    assert room.work().reason == "spool.broken"


def test_a_full_disk_is_waited_for(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.receive(hand_radiograph())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("worker.inference.results.write_all_durably", full)
        job = room.work()

    assert job.state is JobState.QUEUED
    assert room.work().state is JobState.DELIVERING


def test_an_impossible_age_is_never_reported(room: Room) -> None:
    room.receive(hand_radiograph())

    job = room.work(StubEstimator(age_months=float("nan")))

    assert (job.outcome, job.reason) == (Outcome.REFUSED, "technical")
    assert job.bone_age_months is None


# resends


def test_the_same_pixels_in_another_encoding_change_nothing(room: Room) -> None:
    source = hand_radiograph()
    room.receive(source)
    first = room.work()
    room.queue.cancel(first.job_id, reason="test")
    room.receive(source, syntax=JPEG2000Lossless)

    job = room.work()

    assert (job.revision, job.outcome) == (1, Outcome.ESTIMATED)
    assert "unchanged" in [event.event for event in room.queue.events(job.job_id)]
    assert len(list((room.root / f"results/{job.job_id}").iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"PatientSex": "M"},
        {"PatientBirthDate": "20140305"},
        {"StudyDate": "20260106"},
        {"PatientID": "4712"},
        {"WindowWidth": 2000},
    ],
    ids=str,
)
def test_the_same_pixels_with_other_facts_make_a_revision(
    room: Room, change: dict[str, object]
) -> None:
    source = hand_radiograph()
    room.receive(source)
    first = room.work()
    room.queue.cancel(first.job_id, reason="test")
    room.receive(hand_radiograph(**change, SOPInstanceUID=source.SOPInstanceUID))

    job = room.work()

    assert (job.job_id, job.revision) == (first.job_id, 2)
    assert (job.state, job.outcome) == (JobState.DELIVERING, Outcome.ESTIMATED)
    assert room.content(job).revision == 2
    assert job.result_folder != first.result_folder


def test_other_pixels_under_the_same_uid_are_quarantined(room: Room) -> None:
    source = hand_radiograph()
    room.receive(source)
    first = room.work()
    room.queue.cancel(first.job_id, reason="test")
    other = np.flip(hand_pixels(), axis=1).copy()
    room.receive(hand_radiograph(other, BitsStored=12, SOPInstanceUID=source.SOPInstanceUID))

    job = room.work()

    assert (job.revision, job.result_folder) == (1, first.result_folder)
    assert "quarantined" in [event.event for event in room.queue.events(job.job_id)]


def test_without_the_former_content_nothing_is_superseded(room: Room) -> None:
    source = hand_radiograph()
    room.receive(source)
    first = room.work()
    room.queue.cancel(first.job_id, reason="test")
    (room.root / "spool/1.dcm").unlink()
    room.receive(hand_radiograph(PatientSex="M"))

    job = room.work()

    assert (job.revision, job.sex) == (1, "F")
    assert "quarantined" in [event.event for event in room.queue.events(job.job_id)]


def test_a_readable_image_replaces_one_that_could_not_be_read(room: Room) -> None:
    source = hand_radiograph()
    room.receive(hand_radiograph(PixelData=b"\0" * 10, SOPInstanceUID=source.SOPInstanceUID))
    first = room.work()
    room.queue.cancel(first.job_id, reason="test")
    room.receive(source)

    job = room.work()

    assert (first.outcome, job.outcome, job.revision) == (Outcome.REFUSED, Outcome.ESTIMATED, 2)


# leases and stops


def test_a_worker_that_lost_its_lease_leaves_nothing_behind(room: Room) -> None:
    room.receive(hand_radiograph())

    def lose() -> None:
        room.clock.forward(minutes=10)
        room.queue.rescue()

    job = room.work(StubEstimator(before_read=lose))

    assert job.state is JobState.QUEUED
    assert not list(room.root.glob("results/*/*"))


def test_two_attempts_never_write_into_one_folder(room: Room) -> None:
    room.receive(hand_radiograph())
    overtaken: list[str | None] = []

    def be_overtaken() -> None:
        room.clock.forward(minutes=10)
        room.queue.rescue()
        overtaken.append(room.work().result_folder)

    job = room.work(StubEstimator(before_read=be_overtaken))

    assert job.result_folder == overtaken[0]
    assert job.state is JobState.DELIVERING
    assert room.content(job).estimates


def test_a_stop_without_time_gives_the_job_back_with_its_attempt(room: Room) -> None:
    room.receive(hand_radiograph())
    stop, is_given_back = threading.Event(), threading.Event()
    release = room.queue.release

    def release_and_tell(claim: Claim, *, reason: str = "") -> None:
        release(claim, reason=reason)
        is_given_back.set()

    room.queue.release = release_and_tell  # type: ignore[method-assign]  # to hear of it

    def be_stopped() -> None:
        stop.set()
        assert is_given_back.wait(20)

    room.worker(StubEstimator(before_read=be_stopped)).run(stop)

    job = room.queue.jobs()[0]
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)


def test_a_stop_with_time_finishes_the_job_in_hand(room: Room) -> None:
    room.policy = replace(room.policy, grace_seconds=60)
    room.receive(hand_radiograph())
    room.receive(another_instance(hand_radiograph()))
    stop = threading.Event()

    room.worker(StubEstimator(before_read=stop.set)).run(stop)

    states = sorted(job.state for job in room.queue.jobs())
    assert states == [JobState.DELIVERING, JobState.QUEUED]


def test_a_slow_estimate_keeps_its_lease(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.policy = replace(room.policy, lease=timedelta(milliseconds=60))
    room.receive(hand_radiograph())
    renewals = threading.Semaphore(0)
    renew = room.queue.renew

    def renew_and_count(claim: object, *, lease: timedelta) -> object:
        renewed = renew(claim, lease=lease)  # type: ignore[arg-type]  # passed through
        renewals.release()
        return renewed

    monkeypatch.setattr(room.queue, "renew", renew_and_count)

    def wait_for_three() -> None:
        assert all(renewals.acquire(timeout=20) for _ in range(3))

    job = room.work(StubEstimator(before_read=wait_for_three))

    assert job.state is JobState.DELIVERING


def test_a_job_that_is_settled_is_not_renewed_any_more(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.policy = replace(room.policy, lease=timedelta(milliseconds=60))
    room.receive(hand_radiograph())
    is_settled, renewed_late = threading.Event(), threading.Event()
    settle, renew = room.queue.settle, room.queue.renew

    def settle_and_linger(claim: object, result: object) -> None:
        settle(claim, result)  # type: ignore[arg-type]  # passed through
        is_settled.set()
        renewed_late.wait(0.3)  # five leases

    def renew_and_look(claim: object, *, lease: timedelta) -> object:
        if is_settled.is_set():
            renewed_late.set()
        return renew(claim, lease=lease)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(room.queue, "settle", settle_and_linger)
    monkeypatch.setattr(room.queue, "renew", renew_and_look)

    assert room.worker().run_once()

    assert is_settled.is_set()
    assert not renewed_late.is_set()


def test_an_empty_queue_is_no_work(room: Room) -> None:
    assert not room.worker().run_once()


# what must not leave


def test_nothing_that_is_logged_or_told_the_queue_names_the_patient(
    room: Room, capfd: pytest.CaptureFixture[str]
) -> None:
    canary = {"PatientName": "Canary^Bird", "PatientID": "CANARY-7", "PatientBirthDate": "20130817"}
    room.receive(hand_radiograph(**canary))
    room.receive(hand_radiograph(**canary, SOPInstanceUID="1.2.3", WindowWidth=0))
    room.receive(hand_radiograph(**canary, SOPInstanceUID="1.2.4", PatientSex="Canary"))
    for _ in range(3):
        room.work()

    told = capfd.readouterr()
    database = b"".join(path.read_bytes() for path in room.root.iterdir() if "sqlite" in path.name)
    contents = b"".join(path.read_bytes() for path in room.root.rglob(CONTENT_FILE))
    for secret in ("Canary", "CANARY-7", "20130817"):
        assert secret not in told.out + told.err
        assert secret.encode() not in database
        assert secret.encode() not in contents


def test_the_header_on_disk_keeps_the_bytes_that_came(room: Room) -> None:
    source = hand_radiograph(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    room.receive(source)

    job = room.work()

    assert job.result_folder is not None
    header = (room.root / job.result_folder / HEADER_FILE).read_bytes()
    assert "Müller^Jörg".encode("latin-1") in header
    assert "PixelData" not in dcmread(room.root / job.result_folder / HEADER_FILE)


def test_the_room_loads_no_torch() -> None:
    program = "import sys, worker.inference.worker; sys.exit('torch' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=REPOSITORY)

    assert done.returncode == 0


# the database is away, the disk is full


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.inference.worker.PAUSE_SECONDS", 0.01)


def work_until(room: Room, is_done: Callable[[], bool]) -> None:
    """Let a worker run until it has come so far."""
    stop = threading.Event()
    thread = threading.Thread(target=room.worker().run, args=(stop,))
    thread.start()
    try:
        wait_for(is_done, limit_seconds=20)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


@pytest.mark.usefixtures("hasty")
def test_a_database_that_is_away_for_a_moment_costs_no_attempt(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.receive(hand_radiograph())
    away = [DatabaseUnavailableError(found="SQLITE_FULL") for _ in range(3)]
    settle = room.queue.settle

    def settle_when_back(claim: Claim, result: NewResult) -> None:
        if away:
            raise away.pop()
        settle(claim, result)

    monkeypatch.setattr(room.queue, "settle", settle_when_back)

    job = room.work()

    assert (job.state, job.attempt, away) == (JobState.DELIVERING, 1, [])


@pytest.mark.usefixtures("hasty")
def test_a_result_keeps_its_files_although_nobody_heard_that_it_was_committed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.receive(hand_radiograph())
    settle = room.queue.settle

    def settle_in_silence(claim: Claim, result: NewResult) -> None:
        settle(claim, result)
        raise DatabaseUnavailableError(found="the connection was lost")

    monkeypatch.setattr(room.queue, "settle", settle_in_silence)

    job = room.work()

    assert job.state is JobState.DELIVERING
    assert job.result_folder is not None
    assert (room.root / job.result_folder / CONTENT_FILE).exists()


@pytest.mark.usefixtures("hasty")
def test_a_worker_outlives_a_database_that_gives_no_jobs(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.receive(hand_radiograph())
    away = [DatabaseUnavailableError(found="SQLITE_FULL") for _ in range(3)]
    claim = room.queue.claim

    def claim_when_back(*, lease: timedelta) -> Claim | None:
        if away:
            raise away.pop()
        return claim(lease=lease)

    monkeypatch.setattr(room.queue, "claim", claim_when_back)

    work_until(room, lambda: room.queue.jobs()[0].state is JobState.DELIVERING)

    assert away == []


def test_no_image_is_claimed_while_the_disk_has_no_room_for_its_result(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.receive(hand_radiograph())
    looks: list[JobState] = []

    def usage(_path: Path) -> SimpleNamespace:
        looks.append(room.queue.jobs()[0].state)
        return SimpleNamespace(free=0 if len(looks) <= 3 else 1 << 30)

    monkeypatch.setattr("worker.inference.worker.shutil.disk_usage", usage)

    work_until(room, lambda: room.queue.jobs()[0].state is JobState.DELIVERING)

    assert looks[:4] == [JobState.QUEUED] * 4
    assert room.queue.jobs()[0].attempt == 1
