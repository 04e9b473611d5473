from collections.abc import Callable
from datetime import timedelta

import pytest

from schemas.errors import (
    IllegalMoveError,
    LeaseLostError,
    NoSuchJobError,
    NothingToDeliverError,
)
from schemas.jobs import Claim, JobState, OutboxState, Outcome
from schemas.refusals import IgnoreReason, RefusalReason
from tests.fakes import Clock
from tests.worker.queue.makers import (
    LEASE,
    arrival,
    claimed,
    result,
    send_all,
    settled,
    taken,
)
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox


def test_the_oldest_image_is_read_first(queue: JobQueue, clock: Clock) -> None:
    for uid in ("1.9", "1.1", "1.5"):
        queue.receive(arrival(uid))
        clock.forward(seconds=1)

    assert [claimed(queue).sop_instance_uid for _ in range(3)] == ["1.9", "1.1", "1.5"]


def test_a_failed_attempt_waits_longer_each_time(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    assert queue.retry(claimed(queue), code="gpu", message="busy") is JobState.QUEUED
    clock.forward(seconds=4.9)
    assert queue.claim(lease=LEASE) is None
    clock.forward(seconds=0.1)
    assert queue.retry(claimed(queue), code="gpu", message="busy") is JobState.QUEUED
    clock.forward(seconds=7.9)
    assert queue.claim(lease=LEASE) is None
    clock.forward(seconds=0.1)

    last = claimed(queue)
    assert (last.attempt, last.is_last_attempt) == (3, True)


def test_the_last_failed_attempt_fails_the_job(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    for _ in range(2):
        queue.retry(claimed(queue), code="gpu", message="busy")
        clock.forward(minutes=1)

    assert queue.retry(claimed(queue), code="gpu", message="still busy") is JobState.FAILED
    view = queue.job(1)
    assert (view.state, view.reason, view.error) == (JobState.FAILED, "gpu", "still busy")


def test_a_job_that_waits_does_not_hold_up_the_next(queue: JobQueue) -> None:
    queue.receive(arrival("1.1"))
    queue.receive(arrival("1.2"))
    queue.retry(claimed(queue), code="gpu", message="busy")

    assert claimed(queue).sop_instance_uid == "1.2"


def test_a_clean_stop_costs_no_attempt(queue: JobQueue) -> None:
    queue.receive(arrival())
    queue.release(claimed(queue))

    assert claimed(queue).attempt == 1


def test_a_crash_costs_an_attempt(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    claimed(queue)
    clock.forward(minutes=3)
    queue.rescue()

    assert claimed(queue).attempt == 2


def test_a_lease_that_ends_now_is_not_over(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    claimed(queue)
    clock.forward(seconds=LEASE.total_seconds())

    assert queue.rescue() == 0


@pytest.mark.parametrize(
    "report",
    [
        lambda queue, lost: queue.renew(lost, lease=LEASE),
        lambda queue, lost: queue.release(lost),
        lambda queue, lost: queue.retry(lost, code="x", message="x"),
        lambda queue, lost: queue.fail(lost, code="x", message="x"),
        lambda queue, lost: queue.settle_unchanged(lost, reason="x"),
        lambda queue, lost: queue.quarantine(lost, reason="x"),
        lambda queue, lost: queue.settle_ignored(lost, reason=IgnoreReason.NO_RULE),
    ],
    ids=["renew", "release", "retry", "fail", "unchanged", "quarantine", "ignored"],
)
def test_a_claim_that_was_lost_can_do_nothing(
    queue: JobQueue, clock: Clock, report: Callable[[JobQueue, Claim], object]
) -> None:
    queue.receive(arrival())
    lost = claimed(queue)
    clock.forward(minutes=3)
    queue.rescue()
    before = queue.events(1)

    with pytest.raises(LeaseLostError):
        report(queue, lost)

    assert queue.events(1) == before


def test_a_claim_cannot_be_settled_twice(queue: JobQueue) -> None:
    claim = settled(queue)

    with pytest.raises(LeaseLostError):
        queue.settle(claim, result(claim))

    assert len(queue.job(1).destinations) == 2


def test_a_result_that_is_owed_to_nobody_is_delivered_at_once(queue: JobQueue) -> None:
    settled(queue, orders=())

    assert queue.job(1).state is JobState.DELIVERED


def test_a_refusal_is_delivered_like_an_estimate(queue: JobQueue, outbox: Outbox) -> None:
    settled(
        queue,
        outcome=Outcome.REFUSED,
        reason=RefusalReason.NOT_A_HAND.value,
        bone_age_months=None,
        interval_months=None,
        sex=None,
    )
    send_all(outbox)

    view = queue.job(1)
    assert (view.state, view.outcome) == (JobState.DELIVERED, Outcome.REFUSED)
    assert view.reason == "not_a_hand"
    assert view.bone_age_months is None
    assert view.interval_months is None


def test_an_image_that_no_rule_wants_sends_nothing(queue: JobQueue, outbox: Outbox) -> None:
    queue.receive(arrival())
    queue.settle_ignored(claimed(queue), reason=IgnoreReason.NO_RULE)

    view = queue.job(1)
    assert (view.state, view.reason, view.destinations) == (JobState.IGNORED, "no_rule", ())
    assert outbox.claim(lease=LEASE, destinations=["PACS"]) is None


def test_estimating_again_makes_a_new_revision(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    send_all(outbox)
    queue.requeue(1, reason="new rules")
    claim = claimed(queue)
    assert (claim.revision, claim.former_spool_file) == (2, None)
    queue.settle(claim, result(claim, bone_age_months=121.0))
    send_all(outbox)

    view = queue.job(1)
    assert (view.state, view.revision, view.bone_age_months) == (JobState.DELIVERED, 2, 121.0)
    assert view.result_folder == "results/1/2"


def test_delivering_again_sends_the_same_revision(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    send_all(outbox)
    queue.requeue(1, reason="PACS was restored", deliver_only=True)
    assert queue.job(1).state is JobState.DELIVERING

    again = taken(outbox)
    assert (again.revision, again.attempt) == (1, 1)
    assert again.taken_uids == ("2.25.2.1.1", "2.25.1.1.1")
    outbox.release(again)
    send_all(outbox)
    assert queue.job(1).state is JobState.DELIVERED


def test_delivering_again_sends_only_what_was_given_up(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    outbox.fail(taken(outbox), status=0xC000, error="refused")
    outbox.mark_sent(taken(outbox), sop_instance_uid="2.25.1.1.1", status=0)
    queue.requeue(1, reason="PACS was mended", deliver_only=True)

    states = [row.state for row in queue.job(1).destinations]
    assert states == [OutboxState.WAITING, OutboxState.CONFIRMED]


def test_patience_begins_anew_when_something_is_delivered_again(
    queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    settled(queue)
    outbox.fail(taken(outbox), status=None, error="away for a week")
    outbox.fail(taken(outbox), status=None, error="away for a week")
    later = clock.forward(days=8)
    queue.requeue(1, reason="PACS is back", deliver_only=True)

    assert taken(outbox).created_at == later


def test_nothing_can_be_delivered_again_that_was_never_made(queue: JobQueue) -> None:
    queue.receive(arrival())
    queue.settle_ignored(claimed(queue), reason=IgnoreReason.NO_RULE)

    with pytest.raises(NothingToDeliverError):
        queue.requeue(1, reason="please", deliver_only=True)

    assert queue.job(1).state is JobState.IGNORED


@pytest.mark.parametrize("deliver_only", [False, True])
def test_a_job_on_its_way_cannot_be_requeued(queue: JobQueue, deliver_only: bool) -> None:  # noqa: FBT001 - pytest
    settled(queue)

    if deliver_only:
        with pytest.raises((IllegalMoveError, NothingToDeliverError)):
            queue.requeue(1, reason="again", deliver_only=True)
    else:
        with pytest.raises(IllegalMoveError):
            queue.requeue(1, reason="again")

    assert queue.job(1).state is JobState.DELIVERING


def test_a_running_job_cannot_be_cancelled(queue: JobQueue) -> None:
    queue.receive(arrival())
    claim = claimed(queue)

    with pytest.raises(IllegalMoveError):
        queue.cancel(1, reason="stop")

    queue.settle(claim, result(claim))
    assert queue.job(1).state is JobState.DELIVERING


def test_a_cancelled_job_is_not_read(queue: JobQueue) -> None:
    queue.receive(arrival())
    queue.cancel(1, reason="wrong patient")

    assert queue.claim(lease=LEASE) is None
    assert queue.job(1).state is JobState.CANCELLED


def test_a_cancelled_delivery_sends_nothing_more(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    queue.cancel(1, reason="wrong patient")

    assert outbox.claim(lease=LEASE, destinations=["PACS"]) is None
    assert {row.state for row in queue.job(1).destinations} == {OutboxState.CANCELLED}


def test_what_was_on_the_wire_when_a_job_was_cancelled_is_still_recorded(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue)
    on_the_wire = taken(outbox)
    queue.cancel(1, reason="wrong patient")
    outbox.mark_sent(on_the_wire, sop_instance_uid="2.25.2.1.1", status=0)

    view = queue.job(1)
    assert view.state is JobState.CANCELLED
    assert [row.state for row in view.destinations] == [
        OutboxState.CONFIRMED,
        OutboxState.CANCELLED,
    ]


def test_what_failed_on_the_wire_after_a_cancel_is_not_sent_again(
    queue: JobQueue, outbox: Outbox
) -> None:
    settled(queue)
    on_the_wire = taken(outbox)
    queue.cancel(1, reason="wrong patient")
    outbox.retry(on_the_wire, delay=timedelta(0), status=None, error="away")

    assert outbox.claim(lease=LEASE, destinations=["PACS"]) is None


def test_a_cancelled_delivery_can_be_taken_up_again(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    queue.cancel(1, reason="wait")
    queue.requeue(1, reason="go on", deliver_only=True)
    send_all(outbox)

    assert queue.job(1).state is JobState.DELIVERED


def test_a_job_for_a_release_that_is_gone_is_read_by_ours(
    queue: JobQueue, queue_of_next_release: JobQueue
) -> None:
    queue.receive(arrival())

    claim = claimed(queue_of_next_release)

    assert claim.release == "r2"
    queue_of_next_release.settle(claim, result(claim))
    assert queue.job(1).release == "r2"


def test_every_move_is_one_line_of_the_trail(queue: JobQueue, outbox: Outbox) -> None:
    settled(queue)
    send_all(outbox)

    moves = [(event.before, event.after) for event in queue.events(1) if event.after]
    assert moves == [
        (None, JobState.QUEUED),
        (JobState.QUEUED, JobState.RUNNING),
        (JobState.RUNNING, JobState.DELIVERING),
        (JobState.DELIVERING, JobState.DELIVERED),
    ]


def test_every_line_of_the_trail_holds_on_to_the_one_before(queue: JobQueue) -> None:
    settled(queue)
    events = queue.events(1)

    assert [event.previous_hash for event in events] == ["", *(e.hash for e in events[:-1])]
    assert len({event.hash for event in events}) == len(events)
    assert {event.actor for event in events} == {"test"}


def test_jobs_are_found_by_state_time_study_and_sender(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival("1.1"))
    later = clock.forward(hours=1)
    queue.receive(arrival("1.2", calling_ae="WARD7", study_instance_uid="1.7"))
    claimed(queue)

    def found(**filters: object) -> list[str]:
        return [view.sop_instance_uid for view in queue.jobs(**filters)]  # type: ignore[arg-type]

    assert found() == ["1.2", "1.1"]
    assert found(states=[JobState.RUNNING]) == ["1.1"]
    assert found(since=later) == ["1.2"]
    assert found(study="1.7") == ["1.2"]
    assert found(calling_ae="MODALITY") == ["1.1"]
    assert found(limit=1) == ["1.2"]
    assert found(states=[JobState.FAILED]) == []


def test_every_state_is_counted(queue: JobQueue) -> None:
    queue.receive(arrival("1.1"))
    queue.receive(arrival("1.2"))
    claimed(queue)

    counts = queue.counts()
    assert set(counts) == set(JobState)
    assert (counts[JobState.QUEUED], counts[JobState.RUNNING]) == (1, 1)
    assert sum(counts.values()) == 2


@pytest.mark.parametrize(
    "ask",
    [
        lambda queue: queue.job(812),
        lambda queue: queue.events(812),
        lambda queue: queue.cancel(812, reason="x"),
        lambda queue: queue.requeue(812, reason="x"),
        lambda queue: queue.requeue(812, reason="x", deliver_only=True),
    ],
    ids=["job", "events", "cancel", "requeue", "deliver"],
)
def test_a_job_that_is_not_there_is_said_to_be_not_there(
    queue: JobQueue, ask: Callable[[JobQueue], object]
) -> None:
    with pytest.raises(NoSuchJobError, match="812"):
        ask(queue)
