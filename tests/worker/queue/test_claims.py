import pytest

from schemas.errors import LeaseLostError
from schemas.jobs import JobState, OutboxState, Outcome
from tests.fakes import Clock
from tests.worker.queue.makers import LEASE, arrival, claimed, result, send_all, settled
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox


def test_an_image_goes_round_from_arrival_to_delivered(queue: JobQueue, outbox: Outbox) -> None:
    claim = settled(queue)
    assert queue.job(claim.job_id).state is JobState.DELIVERING

    send_all(outbox)

    view = queue.job(claim.job_id)
    assert view.state is JobState.DELIVERED
    assert view.outcome is Outcome.ESTIMATED
    assert view.bone_age_months == 120.5
    assert view.interval_months == (108.0, 133.0)
    assert view.timings_ms == {"estimate": 12.5}
    assert [row.state for row in view.destinations] == [OutboxState.CONFIRMED] * 2
    told = [event.event for event in queue.events(claim.job_id)]
    assert told == ["received", "claimed", "settled", "sent", "sent", "delivered"]


def test_a_worker_that_lost_its_lease_cannot_report(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    slow = claimed(queue)
    clock.forward(minutes=3)
    assert queue.rescue() == 1
    claimed(queue)

    with pytest.raises(LeaseLostError):
        queue.settle(slow, result(slow))

    assert queue.job(slow.job_id).state is JobState.RUNNING


def test_a_renewed_lease_is_not_rescued(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    claim = claimed(queue)
    clock.forward(minutes=1)
    queue.renew(claim, lease=LEASE)
    clock.forward(minutes=1.5)

    assert queue.rescue() == 0


def test_nothing_is_claimed_from_an_empty_queue(queue: JobQueue) -> None:
    assert queue.claim(lease=LEASE) is None


def test_several_claims_go_to_the_oldest_each_with_a_token_of_its_own(
    queue: JobQueue, clock: Clock
) -> None:
    for uid in ("1.9", "1.1", "1.5", "1.3"):
        queue.receive(arrival(uid))
        clock.forward(seconds=1)

    claims = queue.claim_several(lease=LEASE, most=3)

    assert [claim.sop_instance_uid for claim in claims] == ["1.9", "1.1", "1.5"]
    assert len({claim.token for claim in claims}) == 3
    assert claimed(queue).sop_instance_uid == "1.3"
    assert queue.claim_several(lease=LEASE, most=3) == []


def test_several_results_are_settled_and_delivered_as_one_is(
    queue: JobQueue, outbox: Outbox
) -> None:
    for number in range(3):
        queue.receive(arrival(f"1.{number}"))
    claims = queue.claim_several(lease=LEASE, most=3)

    lost = queue.settle_several([(claim, result(claim)) for claim in claims])
    send_all(outbox)

    assert lost == []
    for claim in claims:
        assert queue.job(claim.job_id).state is JobState.DELIVERED
        events = queue.events(claim.job_id)
        told = [event.event for event in events]
        assert told == ["received", "claimed", "settled", "sent", "sent", "delivered"]
        hashes = ["", *(event.hash for event in events)]
        assert [event.previous_hash for event in events] == hashes[:-1]


def test_a_lost_lease_among_several_costs_the_others_nothing(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival("1.1"))
    queue.receive(arrival("1.2"))
    slow, other = queue.claim_several(lease=LEASE, most=2)
    clock.forward(minutes=1)
    queue.renew(other, lease=LEASE)
    clock.forward(minutes=1.5)
    assert queue.rescue() == 1

    lost = queue.settle_several([(slow, result(slow)), (other, result(other))])

    assert lost == [slow]
    assert queue.job(slow.job_id).state is JobState.QUEUED
    assert queue.job(other.job_id).state is JobState.DELIVERING


def test_a_result_owed_to_nobody_ends_its_job_among_several(queue: JobQueue) -> None:
    queue.receive(arrival("1.1"))
    queue.receive(arrival("1.2"))
    first, second = queue.claim_several(lease=LEASE, most=2)

    queue.settle_several([(first, result(first, orders=())), (second, result(second))])

    assert queue.job(first.job_id).state is JobState.DELIVERED
    assert queue.job(second.job_id).state is JobState.DELIVERING


def test_a_claim_among_several_knows_the_result_that_it_is_to_supersede(
    queue: JobQueue, outbox: Outbox
) -> None:
    old = settled(queue, uid="1.1")
    send_all(outbox)
    queue.receive(arrival("1.1", digest="b" * 64))
    queue.receive(arrival("1.2"))

    again, new = queue.claim_several(lease=LEASE, most=2)

    assert (again.job_id, again.revision, len(again.predecessors)) == (old.job_id, 2, 1)
    assert again.former_spool_file == arrival("1.1").spool_file
    assert (new.revision, new.former_spool_file, new.predecessors) == (1, None, ())
