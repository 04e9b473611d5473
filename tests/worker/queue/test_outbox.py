from datetime import timedelta

import pytest

from schemas.errors import LeaseLostError
from schemas.jobs import JobState, ObjectKind, OutboxOrder, OutboxState
from tests.fakes import Clock
from tests.worker.queue.makers import LEASE, arrival, claimed, result, settled, taken
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

ONE_REPORT = (OutboxOrder(kind=ObjectKind.SR, destination="PACS"),)
TWO_PLACES = (*ONE_REPORT, OutboxOrder(kind=ObjectKind.SR, destination="ARCHIVE"))


def test_only_objects_for_the_named_destinations_are_taken(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue, orders=TWO_PLACES)

    assert taken(outbox, "ARCHIVE").destination == "ARCHIVE"
    assert outbox.claim(lease=LEASE, destinations=["ARCHIVE"]) is None
    assert outbox.claim(lease=LEASE, destinations=[]) is None


def test_a_claim_says_all_that_is_needed_to_send(
    queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    settled(queue, orders=ONE_REPORT)
    claim = taken(outbox)

    assert (claim.job_id, claim.revision, claim.kind) == (1, 1, ObjectKind.SR)
    assert claim.result_folder == "results/1/1"
    assert claim.created_at == clock()
    assert claim.lease_ends_at == clock() + LEASE
    assert claim.taken_uids == ()


def test_nothing_is_delivered_before_every_destination_has_it(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue, orders=TWO_PLACES)
    outbox.mark_sent(taken(outbox, "PACS"), sop_instance_uid="2.25.7", status=0)
    assert queue.job(1).state is JobState.DELIVERING

    outbox.mark_sent(taken(outbox, "ARCHIVE"), sop_instance_uid="2.25.7", status=0xB000)

    view = queue.job(1)
    assert view.state is JobState.DELIVERED
    assert [row.status for row in view.destinations] == [0, 0xB000]


def test_an_object_that_was_not_taken_waits_and_goes_again(
    queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    settled(queue, orders=ONE_REPORT)
    outbox.retry(taken(outbox), delay=timedelta(seconds=30), status=0xA700, error="disk full")
    (row,) = queue.job(1).destinations
    assert (row.state, row.status, row.error) == (OutboxState.WAITING, 0xA700, "disk full")

    clock.forward(seconds=29)
    assert outbox.claim(lease=LEASE, destinations=["PACS"]) is None
    clock.forward(seconds=1)
    assert taken(outbox).attempt == 2


def test_one_object_that_is_given_up_does_not_stop_the_other(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue, orders=TWO_PLACES)
    outbox.fail(taken(outbox, "PACS"), status=0xA900, error="does not match its class")
    assert queue.job(1).state is JobState.DELIVERING

    outbox.mark_sent(taken(outbox, "ARCHIVE"), sop_instance_uid="2.25.7", status=0)

    view = queue.job(1)
    assert view.state is JobState.FAILED
    assert view.error == "PACS: does not match its class"


def test_a_clean_stop_gives_the_object_back(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue, orders=ONE_REPORT)
    outbox.release(taken(outbox))

    assert taken(outbox).attempt == 1


def test_an_object_whose_deliverer_vanished_goes_again(
    queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    settled(queue, orders=ONE_REPORT)
    lost = taken(outbox)
    clock.forward(minutes=3)
    assert queue.rescue() == 1
    taken(outbox)

    with pytest.raises(LeaseLostError):
        outbox.mark_sent(lost, sop_instance_uid="2.25.7", status=0)


def test_a_renewed_lease_is_kept(queue: JobQueue, outbox: Outbox, clock: Clock) -> None:
    settled(queue, orders=ONE_REPORT)
    claim = taken(outbox)
    clock.forward(minutes=1)
    renewed = outbox.renew(claim, lease=LEASE)
    clock.forward(minutes=1.5)

    assert renewed.lease_ends_at > claim.lease_ends_at
    assert queue.rescue() == 0
    outbox.mark_sent(renewed, sop_instance_uid="2.25.7", status=0)
    assert queue.job(1).state is JobState.DELIVERED


def test_what_a_destination_took_of_an_older_revision_is_known(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue, orders=TWO_PLACES)
    outbox.mark_sent(taken(outbox, "PACS"), sop_instance_uid="2.25.7", status=0)
    outbox.fail(taken(outbox, "ARCHIVE"), status=None, error="away")
    queue.requeue(1, reason="again", deliver_only=True)

    assert taken(outbox, "ARCHIVE").taken_uids == ()


def test_the_objects_of_an_older_revision_are_not_sent_any_more(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue, orders=TWO_PLACES)
    outbox.fail(taken(outbox, "PACS"), status=None, error="away")
    outbox.fail(taken(outbox, "ARCHIVE"), status=None, error="away")
    queue.receive(arrival(digest="b" * 64))
    settle_next(queue)
    queue.cancel(1, reason="stop")
    queue.requeue(1, reason="go on", deliver_only=True)

    assert {taken(outbox).revision, taken(outbox, "ARCHIVE").revision} == {2}
    assert outbox.claim(lease=LEASE, destinations=["PACS", "ARCHIVE"]) is None


def test_the_newest_answer_of_a_peer_is_remembered(outbox: Outbox) -> None:
    outbox.remember_peer("PACS", sop_class_uid="1.1", is_accepted=True)
    outbox.remember_peer("PACS", sop_class_uid="1.2", is_accepted=True)
    outbox.remember_peer("PACS", sop_class_uid="1.1", is_accepted=False)

    assert outbox.accepted_classes("PACS") == {"1.1": False, "1.2": True}
    assert outbox.accepted_classes("ARCHIVE") == {}


def settle_next(queue: JobQueue) -> None:
    claim = claimed(queue)
    queue.settle(claim, result(claim, orders=TWO_PLACES))
