from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless

from schemas.jobs import JobState, JobView
from schemas.retention import RetentionPolicy
from tests.builders import hand_pixels, hand_radiograph, read_back
from tests.worker.inference.conftest import LEASE, POLICY, Room
from worker.inference.former import change_since, fingerprint, fingerprint_of_file
from worker.inference.resend import Change
from worker.queue.database import open_engine, sqlite_url
from worker.queue.outbox import Outbox
from worker.queue.retention import FileRetention

KEY = b"k" * 32


@pytest.mark.parametrize(
    ("overrides", "change"),
    [
        ({}, Change.NOTHING_RELEVANT),
        ({"StationName": "ROOM 2"}, Change.NOTHING_RELEVANT),
        ({"PatientSex": "M"}, Change.FACTS),
        ({"PatientBirthDate": "20150306"}, Change.FACTS),
        ({"WindowCenter": 1000, "WindowWidth": 500}, Change.FACTS),
        ({"PixelData": b"\0" * 10}, Change.IMAGE),
    ],
    ids=str,
)
def test_an_image_is_known_again_by_what_is_kept_of_it(
    overrides: dict[str, object], change: Change
) -> None:
    kept = fingerprint(hand_radiograph(), key=KEY)

    assert kept is not None
    assert change_since(kept, hand_radiograph(**overrides), key=KEY) is change


def test_another_lossless_encoding_is_the_same_image(tmp_path: Path) -> None:
    source = hand_radiograph()
    kept = fingerprint(source, key=KEY)
    encoded = read_back(source, tmp_path / "a.dcm", transfer_syntax=JPEG2000Lossless)

    assert kept is not None
    assert change_since(kept, encoded, key=KEY) is Change.NOTHING_RELEVANT


def test_nobody_can_guess_a_patient_without_the_key() -> None:
    found = fingerprint(hand_radiograph(), key=KEY)
    other = fingerprint(hand_radiograph(), key=b"o" * 32)

    assert found is not None
    assert other is not None
    assert found.pixels == other.pixels
    assert found.facts != other.facts


@pytest.fixture
def removed(room: Room) -> JobView:
    """A job that was delivered, and whose files retention has removed."""
    room.policy = replace(POLICY, fingerprint_key=KEY)
    room.receive(hand_radiograph(SOPInstanceUID="1.2.3"))
    job = room.work()
    engine = open_engine(sqlite_url(room.root))
    outbox = Outbox(engine, now=room.clock, actor="deliver")
    while (claim := outbox.claim(lease=LEASE, destinations=("pacs",))) is not None:
        outbox.mark_sent(claim, sop_instance_uid=f"2.25.{claim.outbox_id}", status=0)
    room.clock.forward(days=2)
    day = timedelta(days=1)
    retention = FileRetention(
        engine,
        root=room.root,
        policy=RetentionPolicy(images=day, ignored=None, records=None),
        now=room.clock,
        fingerprint=fingerprint_of_file(KEY),
    )
    gone, failed = retention.remove(retention.due())
    engine.dispose()
    assert (len(gone), failed) == (1, 0)
    assert not (room.root / "spool/1.dcm").exists()
    return job


def resent(**overrides: object) -> Callable[[Room], JobView]:
    """Send it again under its UID, and let a worker look at it."""

    def send(room: Room) -> JobView:
        room.receive(hand_radiograph(**{"SOPInstanceUID": "1.2.3", **overrides}))
        return room.work()

    return send


def test_a_corrected_sex_is_a_new_revision_although_the_former_image_is_gone(
    room: Room, removed: JobView
) -> None:
    job = resent(PatientSex="M")(room)

    assert (job.job_id, job.revision, job.sex) == (removed.job_id, 2, "M")
    assert job.state is JobState.DELIVERING


def test_the_same_image_in_another_header_is_kept_and_not_read_again(
    room: Room, removed: JobView
) -> None:
    job = resent(StationName="ROOM 2")(room)

    assert (job.job_id, job.revision, job.state) == (removed.job_id, 1, JobState.DELIVERED)
    assert "unchanged" in [event.event for event in room.queue.events(job.job_id)]


def test_other_pixels_are_set_aside_although_the_former_image_is_gone(
    room: Room, removed: JobView
) -> None:
    job = resent(PixelData=hand_pixels()[::-1].tobytes())(room)

    assert (job.job_id, job.revision) == (removed.job_id, 1)
    reasons = {event.event: event.reason for event in room.queue.events(job.job_id)}
    assert reasons["quarantined"] == "other pixels under the same SOP Instance UID"
