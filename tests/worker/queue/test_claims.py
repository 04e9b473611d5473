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
