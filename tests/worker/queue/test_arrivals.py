"""The table of resends (DESIGN, section 4), line by line."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from schemas.errors import IllegalMoveError
from schemas.jobs import JobState, NewOutput, ObjectKind, Receipt
from schemas.refusals import IgnoreReason
from tests.fakes import Clock
from tests.worker.queue.makers import (
    LEASE,
    SR_CLASS,
    arrival,
    claimed,
    result,
    send_all,
    settled,
    taken,
)
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

OTHER = "b" * 64
THIRD = "c" * 64
SENDERS, IMAGES = 8, 10


def test_a_new_image_is_a_queued_job(queue: JobQueue, clock: Clock) -> None:
    assert queue.receive(arrival()) is Receipt.NEW

    (view,) = queue.jobs()
    assert view.state is JobState.QUEUED
    assert (view.sop_instance_uid, view.study_instance_uid) == ("1.2.3", "1.2.3.1")
    assert (view.calling_ae, view.release) == ("MODALITY", "r1")
    assert view.received_at == clock()


def test_images_and_refusals_of_the_same_moment_wait_for_one_another_and_all_get_in(
    queue: JobQueue,
) -> None:
    together = Barrier(SENDERS)

    def send(sender: int) -> list[Receipt]:
        together.wait()
        receipts = []
        for number in range(IMAGES):
            queue.record_event(event="rejected", reason="cannot be parsed", detail={})
            receipts.append(queue.receive(arrival(f"1.2.{sender}.{number}")))
        return receipts

    with ThreadPoolExecutor(SENDERS) as senders:
        receipts = [receipt for sent in senders.map(send, range(SENDERS)) for receipt in sent]

    assert receipts == [Receipt.NEW] * (SENDERS * IMAGES)


def test_an_image_that_comes_twice_is_one_job(queue: JobQueue) -> None:
    queue.receive(arrival())

    assert queue.receive(arrival()) is Receipt.DUPLICATE
    assert len(queue.jobs()) == 1


def test_a_resend_leaves_a_delivered_job_as_it_is(queue: JobQueue, outbox: Outbox) -> None:
    claim = settled(queue)
    send_all(outbox)

    assert queue.receive(arrival()) is Receipt.DUPLICATE
    assert queue.job(claim.job_id).state is JobState.DELIVERED


def test_a_resend_leaves_a_job_of_another_release_as_it_is(
    queue: JobQueue, outbox: Outbox, queue_of_next_release: JobQueue
) -> None:
    settled(queue)
    send_all(outbox)

    assert queue_of_next_release.receive(arrival()) is Receipt.DUPLICATE
    assert [view.release for view in queue.jobs()] == ["r1"]


def test_a_resend_wakes_a_failed_job_with_all_its_attempts(queue: JobQueue) -> None:
    queue.receive(arrival())
    claim = claimed(queue)
    queue.fail(claim, code="bug", message="It broke.")

    assert queue.receive(arrival(calling_ae="WARD7")) is Receipt.REVIVED
    assert claimed(queue).attempt == 1
    assert "resent by WARD7" in [event.reason for event in queue.events(claim.job_id)]


def test_a_resend_wakes_an_ignored_job(queue: JobQueue) -> None:
    queue.receive(arrival())
    queue.settle_ignored(claimed(queue), reason=IgnoreReason.NO_RULE)

    assert queue.receive(arrival()) is Receipt.REVIVED
    assert claimed(queue).spool_file == arrival().spool_file


def test_a_resend_wakes_a_cancelled_job(queue: JobQueue) -> None:
    queue.receive(arrival())
    queue.cancel(1, reason="wrong patient")

    assert queue.receive(arrival()) is Receipt.REVIVED
    assert queue.job(1).state is JobState.QUEUED


def test_a_changed_image_is_compared_with_the_one_that_was_read(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue)
    send_all(outbox)

    assert queue.receive(arrival(digest=OTHER)) is Receipt.CHANGED
    claim = claimed(queue)

    assert claim.spool_file == arrival(digest=OTHER).spool_file
    assert claim.former_spool_file == arrival().spool_file
    assert claim.revision == 2
    (former,) = claim.predecessors
    assert (former.sop_instance_uid, former.revision) == ("2.25.2.1.1", 1)
    assert former.sop_class_uid == SR_CLASS


def test_a_changed_image_that_comes_while_the_first_is_read_is_not_forgotten(
    queue: JobQueue, outbox: Outbox
) -> None:
    queue.receive(arrival())
    claim = claimed(queue)
    assert queue.receive(arrival(digest=OTHER)) is Receipt.CHANGED
    queue.settle(claim, result(claim))
    assert queue.job(1).state is JobState.DELIVERING

    send_all(outbox)

    assert queue.job(1).state is JobState.QUEUED
    assert claimed(queue).spool_file == arrival(digest=OTHER).spool_file


def test_contents_are_examined_in_the_order_of_arrival(queue: JobQueue, outbox: Outbox) -> None:
    for digest in ("a" * 64, OTHER, THIRD):
        queue.receive(arrival(digest=digest))
    read = []
    while (claim := queue.claim(lease=LEASE)) is not None:
        read.append((claim.former_spool_file, claim.spool_file))
        queue.settle(claim, result(claim))
        send_all(outbox)

    first, second, third = (arrival(digest=d).spool_file for d in ("a" * 64, OTHER, THIRD))
    assert read == [(None, first), (first, second), (second, third)]


def test_a_changed_image_is_read_at_once_after_a_failure(queue: JobQueue) -> None:
    queue.receive(arrival())
    claim = claimed(queue)
    queue.receive(arrival(digest=OTHER))
    queue.fail(claim, code="bug", message="It broke.")

    assert claimed(queue).spool_file == arrival(digest=OTHER).spool_file


def test_an_irrelevant_change_ends_where_it_began(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    send_all(outbox)
    queue.receive(arrival(digest=OTHER))
    queue.settle_unchanged(claimed(queue), reason="same pixels, same patient")

    view = queue.job(1)
    assert (view.state, view.revision) == (JobState.DELIVERED, 1)
    assert queue.claim(lease=LEASE) is None
    assert outbox.claim(lease=LEASE, destinations=["PACS"]) is None


def test_an_irrelevant_change_does_not_hide_that_delivery_had_failed(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue)
    outbox.fail(taken(outbox), status=0xC000, error="refused")
    outbox.mark_sent(taken(outbox), sop_instance_uid="2.25.1.1.1", status=0)
    assert queue.job(1).state is JobState.FAILED
    queue.receive(arrival(digest=OTHER))
    queue.settle_unchanged(claimed(queue), reason="same pixels, same patient")

    assert queue.job(1).state is JobState.FAILED


def test_other_pixels_under_a_known_uid_are_set_aside(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    send_all(outbox)
    queue.receive(arrival(digest=OTHER))
    queue.quarantine(claimed(queue), reason="other pixels")

    view = queue.job(1)
    assert (view.state, view.bone_age_months) == (JobState.DELIVERED, 120.5)
    assert "quarantined" in [event.event for event in queue.events(1)]


def test_a_quarantined_image_is_never_read_again(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    send_all(outbox)
    queue.receive(arrival(digest=OTHER))
    queue.quarantine(claimed(queue), reason="other pixels")

    assert queue.receive(arrival(digest=OTHER)) is Receipt.DUPLICATE
    queue.requeue(1, reason="again")
    again = claimed(queue)
    assert again.spool_file == arrival().spool_file
    assert again.former_spool_file is None


def test_other_pixels_are_compared_again_after_the_comparison_failed(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue)
    send_all(outbox)
    queue.receive(arrival(digest=OTHER))
    queue.fail(claimed(queue), code="bug", message="It broke.")
    queue.requeue(1, reason="mended")

    assert claimed(queue).former_spool_file == arrival().spool_file


def test_nothing_can_be_unchanged_before_there_is_a_result(queue: JobQueue) -> None:
    queue.receive(arrival())
    claim = claimed(queue)

    with pytest.raises(IllegalMoveError):
        queue.settle_unchanged(claim, reason="same")

    assert queue.job(1).state is JobState.RUNNING


def test_our_own_objects_are_known(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    report = taken(outbox)
    built = NewOutput(kind=ObjectKind.SR, sop_class_uid=SR_CLASS, sop_instance_uid="2.25.99")
    outbox.record_output(report, built)
    outbox.record_output(report, built)

    assert queue.is_own_object("2.25.1.1.1")
    assert queue.is_own_object("2.25.99")
    assert not queue.is_own_object("1.2.3")


def test_what_belongs_to_no_job_is_written_down_too(queue: JobQueue) -> None:
    queue.record_event(event="refused", reason="cannot be parsed", detail={"status": 0xC000})

    assert queue.jobs() == []
