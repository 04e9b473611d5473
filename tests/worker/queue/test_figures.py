from datetime import timedelta

import pytest
from sqlalchemy import Engine

from schemas.jobs import JobState, Outcome
from schemas.refusals import IgnoreReason
from tests.fakes import Clock
from tests.worker.queue.makers import LEASE, arrival, claimed, send_all, settled, taken
from worker.queue.figures import Figures
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox
from worker.queue.periodic import PeriodicRuns

CLOSE = timedelta(seconds=5)  # PostgreSQL's own clock runs on while a test stands still


@pytest.fixture
def figures(engine: Engine, clock: Clock) -> Figures:
    return Figures(engine, now=clock)


def test_an_empty_database_has_nothing_to_show(figures: Figures) -> None:
    snapshot = figures.snapshot()

    assert {backlog.count for backlog in snapshot.jobs.values()} == {0}
    assert set(snapshot.jobs) == set(JobState)
    assert snapshot.due.oldest_at is None
    assert (snapshot.last_result_at, snapshot.last_delivered_at) == (None, None)
    assert (snapshot.destinations, snapshot.drift, snapshot.periodic) == ((), (), ())


def test_a_job_waits_since_its_image_came_however_often_it_was_tried(
    queue: JobQueue, figures: Figures, clock: Clock
) -> None:
    received_at = clock()
    queue.receive(arrival())
    for _ in range(2):
        clock.forward(minutes=5)
        queue.retry(claimed(queue), code="inference.device", message="busy")

    snapshot = figures.snapshot()

    queued = snapshot.jobs[JobState.QUEUED]
    assert queued.count == 1
    assert queued.oldest_at is not None
    assert abs(queued.oldest_at - received_at) < CLOSE
    assert snapshot.due.count == 0


def test_a_requeued_job_waits_since_it_was_requeued(
    queue: JobQueue, outbox: Outbox, figures: Figures, clock: Clock
) -> None:
    claim = settled(queue)
    send_all(outbox)
    clock.forward(days=30)
    queue.requeue(claim.job_id, reason="read it again")

    oldest_at = figures.snapshot().jobs[JobState.QUEUED].oldest_at

    assert oldest_at is not None
    assert abs(oldest_at - clock()) < CLOSE


def test_a_destination_that_was_tried_in_vain_has_refused_until_it_takes_something(
    queue: JobQueue, outbox: Outbox, figures: Figures, clock: Clock
) -> None:
    settled(queue)
    outbox.retry(taken(outbox), delay=timedelta(seconds=5), status=None, error="no answer")
    (away,) = figures.snapshot().destinations
    clock.forward(minutes=1)
    send_all(outbox)
    (back,) = figures.snapshot().destinations

    assert (away.destination, away.waiting.count, away.has_refused) == ("PACS", 2, True)
    assert (back.waiting.count, back.has_refused) == (0, False)
    assert back.last_taken_at is not None


def test_drift_is_reckoned_by_sex_without_the_phantom(queue: JobQueue, figures: Figures) -> None:
    ages = {"bone_age_months": 120.0, "sex": "F"}
    settled(queue, uid="1.1", chronological_age_months=118.0, **ages)
    settled(queue, uid="1.2", chronological_age_months=110.0, **ages)
    settled(queue, uid="1.3", chronological_age_months=20.0, is_phantom=True, **ages)
    settled(queue, uid="1.4", chronological_age_months=None, **ages)

    (girls,) = figures.snapshot().drift

    assert (girls.sex, girls.count) == ("F", 2)
    assert girls.mean_months == pytest.approx(6.0)
    assert girls.median_months == pytest.approx(6.0)


def test_results_are_read_on_from_where_the_reader_was(queue: JobQueue, figures: Figures) -> None:
    settled(queue, uid="1.1", chronological_age_months=118.0)
    (first,) = figures.results_after(0, limit=10)
    settled(queue, uid="1.2", outcome=Outcome.REFUSED, reason="not_a_hand", bone_age_months=None)

    (second,) = figures.results_after(first.result_id, limit=10)

    assert first.difference_months == pytest.approx(2.5)
    assert first.timings_ms == {"estimate": 12.5}
    assert (second.outcome, second.reason) == (Outcome.REFUSED, "not_a_hand")
    assert second.difference_months is None


def test_what_ended_without_a_result_is_told_by_its_code_alone(
    queue: JobQueue, figures: Figures
) -> None:
    queue.receive(arrival("1.1"))
    queue.settle_ignored(claimed(queue), reason=next(iter(IgnoreReason)))
    queue.receive(arrival("1.2"))
    queue.fail(claimed(queue), code="spool.missing", message="words")
    queue.receive(arrival("1.3"))
    queue.cancel(3, reason="Lind^Ada asked for it")

    endings = figures.endings_after(0, limit=10)

    assert [(one.event, one.reason) for one in endings] == [
        ("ignored", next(iter(IgnoreReason)).value),
        ("failed", "spool.missing"),
    ]


def test_only_images_since_a_day_are_listed(
    queue: JobQueue, figures: Figures, clock: Clock
) -> None:
    queue.receive(arrival("1.1"))
    day = clock.forward(days=2)
    queue.receive(arrival("1.2"))

    (newer,) = figures.arrived_since(day - timedelta(hours=1))

    assert newer.state is JobState.QUEUED


def test_the_schedule_is_remembered_by_its_last_good_and_its_last_bad_end(
    engine: Engine, figures: Figures, clock: Clock
) -> None:
    runs = PeriodicRuns(engine, now=clock)
    runs.note("seal", is_success=True)
    clock.forward(minutes=1)
    runs.note("seal", is_success=False)
    runs.note("rescue", is_success=True)

    rescue, seal = figures.snapshot().periodic

    assert (rescue.name, rescue.failed_at) == ("rescue", None)
    assert seal.succeeded_at is not None
    assert seal.failed_at is not None
    assert seal.failed_at - seal.succeeded_at > timedelta(seconds=50)


def test_a_running_job_is_counted_where_it_is(queue: JobQueue, figures: Figures) -> None:
    queue.receive(arrival())
    assert queue.claim(lease=LEASE) is not None

    snapshot = figures.snapshot()

    assert (snapshot.jobs[JobState.RUNNING].count, snapshot.due.count) == (1, 0)
