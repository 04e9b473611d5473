import json
from datetime import UTC, datetime

import pytest

from schemas.errors import RemovedByRetentionError
from schemas.jobs import JobEvent, JobState
from schemas.refusals import IgnoreReason
from schemas.tables import Job, Reception, Result
from tests.builders import hand_radiograph, write_file
from tests.worker.cli.conftest import Room, Run
from tests.worker.queue.makers import arrival, claimed, result, send_all, settled
from worker.cli.jobs_story import stages_of
from worker.queue.database import writing


def numbers(listed: str) -> list[int]:
    return [record["job_id"] for record in json.loads(listed)]


def test_a_list_is_narrowed_by_every_filter_that_is_given(room: Room, run: Run) -> None:
    room.fail("1.2.1")
    room.queue.receive(arrival("1.2.2", calling_ae="CR_ROOM_2"))
    room.queue.receive(arrival("1.2.3"))

    assert numbers(run("jobs", "list", "--state", "failed", "--json")) == [1]
    assert numbers(run("jobs", "list", "--calling-ae", "CR_ROOM_2", "--json")) == [2]
    assert numbers(run("jobs", "list", "--study", "1.2.3.1", "--json")) == [3]
    assert numbers(run("jobs", "list", "--until", "2026-01-05", "--json")) == [3, 2, 1]
    assert numbers(run("jobs", "list", "--until", "2026-01-04", "--json")) == []
    assert numbers(run("jobs", "list", "--release", "r9", "--json")) == []


def test_a_job_is_found_by_what_stands_on_the_request_form(room: Room, run: Run) -> None:
    image = hand_radiograph(AccessionNumber="A-17", PatientID="P1")
    path = write_file(image, room.root / "hand.dcm")
    syntax = str(image.file_meta.TransferSyntaxUID)
    room.queue.receive(arrival("1.2.1", spool_file=path.name, transfer_syntax_uid=syntax))
    room.queue.receive(arrival("1.2.2"))

    assert numbers(run("jobs", "list", "--accession", "a-17", "--json")) == [1]
    assert numbers(run("jobs", "list", "--patient-id", "P1", "--json")) == [1]
    assert numbers(run("jobs", "list", "--patient-id", "P2", "--json")) == []
    assert (room.root / "search.key").stat().st_mode & 0o777 == 0o600
    assert "it is empty" in run("jobs", "list", "--accession", " ", expect=2)


def test_the_hashes_can_be_reckoned_anew_with_another_key(room: Room, run: Run) -> None:
    image = hand_radiograph(AccessionNumber="A-17")
    path = write_file(image, room.root / "hand.dcm")
    syntax = str(image.file_meta.TransferSyntaxUID)
    room.queue.receive(arrival("1.2.1", spool_file=path.name, transfer_syntax_uid=syntax))
    run("jobs", "list", "--accession", "A-17")
    (room.root / "search.key").unlink()

    assert numbers(run("jobs", "list", "--accession", "A-17", "--json")) == []
    assert "1 images" in run("jobs", "reindex")
    assert numbers(run("jobs", "list", "--accession", "A-17", "--json")) == [1]


def test_a_list_that_is_cut_off_says_so(room: Room, run: Run) -> None:
    for number in (1, 2, 3):
        room.queue.receive(arrival(f"1.2.{number}"))

    assert "The newest 2 of 3" in run("jobs", "list", "--limit", "2")


def test_a_content_that_was_set_aside_is_seen(room: Room, run: Run) -> None:
    settled(room.queue)
    room.queue.receive(arrival(digest="b" * 64))
    room.queue.cancel(1, reason="test")
    room.queue.quarantine(claimed(room.queue), reason="other pixels")

    assert "a content is quarantined" in run("jobs", "list")
    assert numbers(run("jobs", "list", "--quarantined", "--json")) == [1]
    shown = json.loads(run("jobs", "show", "1", "--json"))
    assert [one["state"] for one in shown["receptions"]] == ["kept", "quarantined"]


def test_a_number_of_an_earlier_round_is_not_taken_for_that_of_this_one(
    room: Room, run: Run
) -> None:
    settled(room.queue)
    send_all(room.outbox)
    assert "  120.5 mo (108 to 133)" in run("jobs", "list")

    room.queue.receive(arrival(digest="b" * 64))
    room.queue.settle_ignored(claimed(room.queue), reason=IgnoreReason.NO_RULE)

    assert "before: 120.5 mo (108 to 133)" in run("jobs", "list")
    shown = json.loads(run("jobs", "show", "1", "--json"))
    assert (shown["outcome"], shown["bone_age_months"], shown["interval_months"]) == (None,) * 3
    assert shown["former_bone_age_months"] == 120.5


def test_an_estimate_for_both_sexes_is_listed_as_that(room: Room, run: Run) -> None:
    room.queue.receive(arrival())
    claim = claimed(room.queue)
    unknown = result(claim, bone_age_months=None, interval_months=None, sex=None)
    room.queue.settle(claim, unknown)

    assert "two: sex unknown" in run("jobs", "list")


def test_while_an_image_is_read_again_its_number_is_that_of_before(room: Room, run: Run) -> None:
    settled(room.queue)
    send_all(room.outbox)
    room.queue.requeue(1, reason="sex was corrected")

    (queued,) = json.loads(run("jobs", "list", "--json"))
    room.queue.fail(claimed(room.queue), code="spool.missing", message="It is gone.")
    (failed,) = json.loads(run("jobs", "list", "--json"))
    room.queue.requeue(1, reason="the PACS lost it", deliver_only=True)
    (delivering,) = json.loads(run("jobs", "list", "--json"))

    found = [(one["outcome"], one["bone_age_months"]) for one in (queued, failed, delivering)]
    assert found == [(None, None), (None, None), ("estimated", 120.5)]


def test_a_job_is_shown_with_its_whole_story(room: Room, run: Run) -> None:
    room.queue.receive(arrival())
    room.clock.forward(seconds=4)
    claim = claimed(room.queue)
    room.clock.forward(seconds=2)
    room.queue.settle(claim, result(claim))
    room.clock.forward(seconds=1)
    send_all(room.outbox)

    shown = run("jobs", "show", "1")

    assert "waited 4.0 s, read 2.0 s, delivered 1.0 s" in shown
    assert "estimate 12 ms" in shown
    assert "2.25.2.1.1" in shown
    assert shown.count("0x0000") == 2
    assert "sent SR" in shown


def test_many_are_requeued_by_a_filter(room: Room, run: Run) -> None:
    for number in (1, 2):
        room.fail(f"1.2.{number}")
    room.queue.receive(arrival("1.2.3"))

    printed = run("jobs", "requeue", "--state", "failed", "--reason", "disk was full", "--yes")

    assert printed.count("estimate again") == 2
    assert [room.queue.job(one).state for one in (1, 2)] == [JobState.QUEUED] * 2
    requeued = room.queue.events(1)[-1]
    assert (requeued.event, requeued.reason) == ("requeued", "disk was full")
    assert requeued.actor.startswith("operator:")


def test_nothing_is_requeued_before_somebody_said_yes(room: Room, run: Run) -> None:
    room.fail("1.2.1")

    assert "--yes" in run("jobs", "requeue", "1", "--reason", "test", expect=2)
    assert room.queue.job(1).state is JobState.FAILED


def test_what_cannot_be_requeued_is_refused_politely_beside_the_rest(room: Room, run: Run) -> None:
    room.fail("1.2.1")
    room.queue.receive(arrival("1.2.2"))

    printed = run("jobs", "requeue", "1", "2", "--reason", "test", "--yes", expect=1)

    assert "a job that is queued cannot become queued" in printed
    assert room.queue.job(1).state is JobState.QUEUED


def test_a_job_that_is_being_read_is_left_alone(room: Room, run: Run) -> None:
    room.queue.receive(arrival())
    claimed(room.queue)

    printed = run("jobs", "requeue", "1", "--reason", "test", "--yes", expect=1)

    assert "it is being read" in printed


def test_only_sending_again_needs_a_result(room: Room, run: Run) -> None:
    room.fail("1.2.1")
    settled(room.queue, uid="1.2.2")
    send_all(room.outbox)

    ended = run(
        *("jobs", "requeue", "1", "2", "--deliver-only", "--reason", "test", "--yes", "--json"),
        expect=1,
    )

    assert [(one["job_id"], one["state"]) for one in json.loads(ended)] == [
        (1, "failed"),
        (2, "delivering"),
    ]
    assert "no result" in json.loads(ended)[0]["refused"]


def test_an_image_that_retention_took_is_not_read_again(room: Room, run: Run) -> None:
    settled(room.queue)
    send_all(room.outbox)
    with writing(room.engine) as session:
        session.get_one(Reception, 1).removed_at = room.clock()
        session.get_one(Result, 1).removed_at = room.clock()

    printed = run("jobs", "requeue", "1", "--reason", "test", "--yes", expect=1)

    assert "retention has removed the image" in printed
    for deliver_only in (True, False):
        with pytest.raises(RemovedByRetentionError):
            room.queue.requeue(1, reason="test", deliver_only=deliver_only)


def test_resent_bytes_count_as_there_again(room: Room) -> None:
    settled(room.queue)
    send_all(room.outbox)
    with writing(room.engine) as session:
        session.get_one(Reception, 1).removed_at = room.clock()

    room.queue.receive(arrival())

    room.queue.requeue(1, reason="test")
    assert room.queue.job(1).state is JobState.QUEUED


def test_a_release_that_is_not_served_is_refused(room: Room, run: Run) -> None:
    room.fail("1.2.1")

    printed = run("jobs", "requeue", "1", "--release", "r9", "--reason", "test", "--yes", expect=2)

    assert "jobs.other_release" in printed


def test_a_change_without_a_choice_changes_nothing(room: Room, run: Run) -> None:
    room.fail("1.2.1")

    assert "jobs.nothing_chosen" in run("jobs", "requeue", "--reason", "test", "--yes", expect=2)
    assert "queue.no_such_job" in run("jobs", "cancel", "99", "--reason", "test", "--yes", expect=2)


def test_more_jobs_than_meant_are_not_changed(room: Room, run: Run) -> None:
    room.fail("1.2.1")
    room.fail("1.2.2")

    printed = run(
        *("jobs", "requeue", "--state", "failed", "--limit", "1", "--reason", "test", "--yes"),
        expect=2,
    )

    assert "2 jobs fit" in printed
    assert room.queue.counts()[JobState.FAILED] == 2


def test_many_are_cancelled_by_a_filter(room: Room, run: Run) -> None:
    room.queue.receive(arrival("1.2.1", calling_ae="TEST"))
    room.queue.receive(arrival("1.2.2"))

    run("jobs", "cancel", "--calling-ae", "TEST", "--reason", "a test", "--yes")

    assert room.queue.counts()[JobState.CANCELLED] == 1


def test_one_look_shows_counts_and_what_changed_last(room: Room, run: Run) -> None:
    room.fail("1.2.1")
    room.clock.forward(seconds=1)
    room.queue.receive(arrival("1.2.2"))

    printed = run("jobs", "watch", "--once")

    assert "failed 1" in printed
    assert printed.index("queued  ") < printed.index("It is damaged.")


def test_a_line_for_a_program_has_counts_and_jobs(room: Room, run: Run) -> None:
    room.fail("1.2.1")

    (line,) = run("jobs", "watch", "--once", "--json").splitlines()

    assert json.loads(line)["counts"]["failed"] == 1
    assert [job["job_id"] for job in json.loads(line)["jobs"]] == [1]


def test_watching_ends_with_ctrl_c(room: Room, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        room.queue.receive(arrival("1.2.2"))
        monkeypatch.setattr("time.sleep", lambda _seconds: raise_interrupt())

    def raise_interrupt() -> None:
        raise KeyboardInterrupt

    room.fail("1.2.1")
    monkeypatch.setattr("time.sleep", interrupt)

    first, second = run("jobs", "watch", "--json").splitlines()

    assert [job["job_id"] for job in json.loads(first)["jobs"]] == [1]
    assert [job["job_id"] for job in json.loads(second)["jobs"]] == [2]


def test_the_live_view_ends_with_ctrl_c(
    room: Room, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    room.fail("1.2.1")
    monkeypatch.setattr("time.sleep", interrupt)

    assert "failed 1" in run("jobs", "watch")


def test_stages_begin_anew_with_each_round(room: Room) -> None:
    settled(room.queue)
    room.clock.forward(seconds=5)
    send_all(room.outbox)
    room.queue.requeue(1, reason="test")

    events: list[JobEvent] = room.queue.events(1)

    assert stages_of(events) == {}
    assert stages_of(events[:-1])["delivered"] == 5


def test_retention_is_shown_before_it_is_done(room: Room, run: Run) -> None:
    settled(room.queue)
    send_all(room.outbox)
    image = room.root / "spool/aa/1.2.3-aaaa.dcm"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"x")
    (room.root / "audit.key").write_bytes(b"k" * 32)
    with writing(room.engine) as session:
        session.get_one(Job, 1).updated_at = datetime(2020, 1, 1, tzinfo=UTC)

    shown = json.loads(run("retention", "run", "--dry-run", "--json"))

    assert (shown["jobs"], shown["files"]) == (1, 2)
    assert "--yes" in run("retention", "run", expect=2)
    assert image.exists()
    assert "Removed:" in run("retention", "run", "--yes")
    assert not image.exists()
    removed = room.queue.events(1)[-1]
    assert (removed.event, removed.actor[:9]) == ("files_removed", "operator:")
    assert "Nothing is due" in run("retention", "run", "--yes")
