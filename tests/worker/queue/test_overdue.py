from datetime import timedelta

from sqlalchemy import Engine

from schemas.jobs import JobState, Stage
from tests.fakes import Clock
from tests.worker.queue.makers import SC_CLASS, arrival, claimed, result, settled, taken
from worker.queue.figures import Figures
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

LIMITS = {Stage.ESTIMATE: timedelta(minutes=15), Stage.DELIVER: timedelta(minutes=60)}


def stories(queue: JobQueue, job_id: int) -> list[tuple[str, str]]:
    found = queue.events(job_id)
    return [(each.event, each.reason) for each in found if each.event == "overdue"]


def test_an_image_that_nobody_reads_is_called_overdue_once(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    clock.forward(minutes=14)
    assert queue.call_overdue(LIMITS) == []
    clock.forward(minutes=2)

    (found,) = queue.call_overdue(LIMITS)

    assert (found.job_id, found.stage) == (1, Stage.ESTIMATE)
    assert timedelta(minutes=16) <= found.waits < timedelta(minutes=17)
    assert queue.call_overdue(LIMITS) == []
    assert stories(queue, 1) == [("overdue", "estimate")]


def test_an_image_that_is_tried_again_and_again_is_overdue_too(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    for _ in range(2):
        queue.retry(claimed(queue), code="results.disk", message="full")
        clock.forward(minutes=8)

    assert [one.stage for one in queue.call_overdue(LIMITS)] == [Stage.ESTIMATE]


def test_a_result_that_nobody_takes_is_called_overdue(queue: JobQueue, clock: Clock) -> None:
    claim = settled(queue)
    clock.forward(minutes=59)
    assert queue.call_overdue(LIMITS) == []
    clock.forward(minutes=2)

    assert [one.stage for one in queue.call_overdue(LIMITS)] == [Stage.DELIVER]

    assert queue.job(claim.job_id).state is JobState.DELIVERING
    assert stories(queue, claim.job_id) == [("overdue", "deliver")]


def test_what_was_requeued_is_overdue_anew(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    clock.forward(minutes=16)
    queue.call_overdue(LIMITS)
    queue.cancel(1, reason="test")
    queue.requeue(1, reason="after all")
    assert queue.call_overdue(LIMITS) == []
    clock.forward(minutes=16)

    assert len(queue.call_overdue(LIMITS)) == 1

    assert len(stories(queue, 1)) == 2


def test_what_is_overdue_is_counted_until_it_moves_on(
    queue: JobQueue, outbox: Outbox, clock: Clock, engine: Engine
) -> None:
    figures = Figures(engine, now=clock)
    queue.receive(arrival())
    clock.forward(minutes=16)
    queue.call_overdue(LIMITS)
    assert figures.snapshot().overdue == {Stage.ESTIMATE: 1, Stage.DELIVER: 0}

    claim = claimed(queue)
    queue.settle(claim, result(claim))
    assert figures.snapshot().overdue == {Stage.ESTIMATE: 0, Stage.DELIVER: 0}
    clock.forward(minutes=61)
    queue.call_overdue(LIMITS)
    assert figures.snapshot().overdue == {Stage.ESTIMATE: 0, Stage.DELIVER: 1}

    for _ in range(2):
        outbox.mark_sent(taken(outbox), sop_instance_uid=f"2.25.{SC_CLASS}", status=0)
    assert figures.snapshot().overdue == {Stage.ESTIMATE: 0, Stage.DELIVER: 0}


def test_a_job_taken_from_work_that_hangs_costs_an_attempt_and_is_said_to_be_overdue(
    queue: JobQueue,
) -> None:
    queue.receive(arrival())
    queue.take_overdue(claimed(queue), deadline=timedelta(minutes=15))

    again = claimed(queue)

    assert (again.attempt, again.is_refusal_only) == (2, False)
    assert stories(queue, 1) == [("overdue", "estimate")]
