from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from schemas.errors import LeaseLostError
from schemas.jobs import JobState, RetryPolicy
from tests.fakes import Clock
from tests.worker.queue.makers import LEASE, RETRY, arrival, claimed, result, settled, taken
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox
from worker.queue.rescue import StepWatch


def kill_worker(queue: JobQueue, clock: Clock) -> None:
    """Let a worker take the job and never be heard of again."""
    claimed(queue)
    clock.forward(minutes=3)
    assert queue.rescue() == 1


def test_an_image_that_ended_two_workers_is_not_read_by_a_third(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    kill_worker(queue, clock)
    second = claimed(queue)
    clock.forward(minutes=3)
    queue.rescue()

    claim = claimed(queue)

    assert (second.is_refusal_only, claim.is_refusal_only) == (False, True)
    assert claim.is_last_attempt


def test_an_image_whose_last_worker_vanished_is_refused_without_a_look(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    for _ in range(2):
        queue.retry(claimed(queue), code="gpu", message="busy")
        clock.forward(minutes=1)
    kill_worker(queue, clock)

    assert claimed(queue).is_refusal_only


def test_an_image_that_ends_even_who_only_refuses_it_fails(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    for _ in range(3):
        kill_worker(queue, clock)

    view = queue.job(1)
    assert (view.state, view.reason) == (JobState.FAILED, "queue.isolated")
    assert "requeue" in (view.error or "")


def test_a_job_that_an_operator_requeues_is_read_again(queue: JobQueue, clock: Clock) -> None:
    queue.receive(arrival())
    for _ in range(3):
        kill_worker(queue, clock)

    queue.requeue(1, reason="decoder mended")

    assert not claimed(queue).is_refusal_only


def test_a_refusal_of_an_isolated_image_is_delivered_like_any_other(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    for _ in range(2):
        kill_worker(queue, clock)
    claim = claimed(queue)

    queue.settle(claim, result(claim, reason="technical", error="queue.isolated: ..."))

    assert queue.job(1).state is JobState.DELIVERING


# clocks: of several hosts, set back, and at the end of summer


def queue_of(
    engine: Engine, now: Callable[[], datetime], *, retry: RetryPolicy = RETRY
) -> JobQueue:
    return JobQueue(engine, now=now, actor="other host", release="r1", retry=retry)


@pytest.mark.parametrize("apart", [timedelta(minutes=10), -timedelta(minutes=10)])
def test_hosts_ten_minutes_apart_take_no_job_from_one_another_on_postgresql(
    engine: Engine, queue: JobQueue, clock: Clock, apart: timedelta
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite is for one host")
    other = queue_of(engine, lambda: clock() + apart)
    queue.receive(arrival())
    claim = claimed(queue)
    clock.forward(seconds=LEASE.total_seconds() - 1)

    assert other.rescue() == 0
    assert other.claim(lease=LEASE) is None
    queue.settle(claim, result(claim))


@pytest.mark.parametrize("apart", [timedelta(minutes=10), -timedelta(minutes=10)])
def test_a_dead_host_ten_minutes_apart_is_noticed_in_time_on_postgresql(
    engine: Engine, queue: JobQueue, clock: Clock, apart: timedelta
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite is for one host")
    other = queue_of(engine, lambda: clock() + apart)
    other.receive(arrival())
    lost = claimed(other)
    clock.forward(seconds=LEASE.total_seconds() + 1)

    assert queue.rescue() == 1
    claimed(queue)
    with pytest.raises(LeaseLostError):
        other.settle(lost, result(lost))


def test_an_object_put_off_by_a_host_ahead_goes_out_in_time_on_postgresql(
    engine: Engine, queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite is for one host")
    ahead = Outbox(engine, now=lambda: clock() + timedelta(minutes=10), actor="other host")
    settled(queue)
    ahead.retry(taken(ahead), delay=timedelta(seconds=5), status=0xA700, error="full")
    clock.forward(seconds=5)

    taken(outbox)
    taken(outbox)
    assert outbox.claim(lease=LEASE, destinations=["PACS"]) is None


def test_an_image_received_before_the_clock_was_set_back_is_read_at_once(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    clock.back(hours=1)

    claimed(queue)


def test_a_result_owed_before_the_clock_was_set_back_goes_out_at_once(
    queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    settled(queue)
    clock.back(hours=1)

    taken(outbox)


def test_a_job_put_off_before_the_clock_was_set_back_is_not_put_off_for_hours(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    queue.retry(claimed(queue), code="gpu", message="busy")
    clock.back(hours=5)
    queue.rescue()
    clock.forward(seconds=RETRY.longest_delay.total_seconds())

    claimed(queue)


def test_an_object_put_off_before_the_clock_was_set_back_is_not_put_off_for_hours(
    queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    settled(queue)
    for _ in range(2):
        outbox.retry(taken(outbox), delay=timedelta(minutes=5), status=0xA700, error="full")
    clock.back(hours=5)
    queue.rescue(longest_wait=timedelta(minutes=15))
    clock.forward(minutes=15)

    taken(outbox)


def test_a_worker_that_died_before_the_clock_was_set_back_does_not_hold_its_job_for_hours(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    claimed(queue)
    clock.back(hours=5)
    queue.rescue(longest_lease=LEASE)
    clock.forward(minutes=3)

    assert queue.rescue(longest_lease=LEASE) == 1


def test_a_worker_that_lives_keeps_its_job_though_the_clock_is_set_back(
    queue: JobQueue, clock: Clock
) -> None:
    queue.receive(arrival())
    claim = claimed(queue)
    clock.back(hours=5)
    queue.rescue(longest_lease=LEASE)
    for _ in range(4):
        clock.forward(minutes=1)
        claim = queue.renew(claim, lease=LEASE)
        assert queue.rescue(longest_lease=LEASE) == 0

    queue.settle(claim, result(claim))


def test_a_lease_over_the_end_of_summer_time_is_as_long_as_any_other(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        pytest.skip("the server's clock counts there")
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC)  # 02:59:30 in summer; then 02:00 again
    clock = Clock(before)
    queue = queue_of(engine, lambda: clock().astimezone(berlin))
    queue.receive(arrival())
    claim = claimed(queue)
    clock.forward(minutes=1.5)

    assert queue.rescue() == 0
    clock.forward(minutes=1)
    assert queue.rescue() == 1
    assert claim.lease_ends_at == before + LEASE


def test_a_proof_owed_before_the_clock_was_set_back_is_asked_for_in_time(
    queue: JobQueue, outbox: Outbox, clock: Clock
) -> None:
    settled(queue)
    for _ in range(2):
        claim = taken(outbox)
        uid = f"2.25.1.{claim.job_id}.1"
        outbox.mark_sent(claim, sop_instance_uid=uid, status=0, confirm_after=timedelta(seconds=1))
    clock.back(hours=5)
    queue.rescue(longest_wait=timedelta(minutes=15))
    clock.forward(minutes=15)

    assert outbox.commitments.due("PACS")


def test_a_clock_that_is_set_forward_takes_no_job_from_a_worker_that_lives(
    queue: JobQueue, clock: Clock
) -> None:
    ticks = 0.0
    watch = StepWatch(now=clock, monotonic=lambda: ticks)
    queue.receive(arrival())
    claim = claimed(queue)
    assert watch.is_trusted(lease=LEASE)
    clock.forward(minutes=10)  # set forward: by the other clock, no time has passed

    ticks += 15
    assert not watch.is_trusted(lease=LEASE)
    queue.renew(claim, lease=LEASE)  # the next sign of life of the worker
    for _ in range(8):
        ticks += 15
        clock.forward(seconds=15)
        queue.renew(claim, lease=LEASE)
    assert watch.is_trusted(lease=LEASE)

    assert queue.rescue() == 0
    queue.settle(claim, result(claim))


def test_time_that_passes_is_no_step(clock: Clock) -> None:
    ticks = 0.0
    watch = StepWatch(now=clock, monotonic=lambda: ticks)
    for _ in range(5):
        assert watch.is_trusted(lease=LEASE)
        ticks += 15
        clock.forward(seconds=16)  # a little apart
    clock.back(minutes=10)

    assert watch.is_trusted(lease=LEASE)


def test_the_dead_are_found_one_lease_after_a_step(clock: Clock) -> None:
    ticks = 0.0
    watch = StepWatch(now=clock, monotonic=lambda: ticks)
    watch.is_trusted(lease=LEASE)
    clock.forward(hours=1)
    assert not watch.is_trusted(lease=LEASE)

    ticks += LEASE.total_seconds()
    clock.forward(seconds=LEASE.total_seconds())

    assert watch.is_trusted(lease=LEASE)


def test_a_database_that_is_slow_to_tell_the_time_is_no_step(clock: Clock) -> None:
    ticks, delays = 0.0, [30, 0, 30, 0]

    def slow() -> datetime:
        nonlocal ticks
        told, delay = clock(), delays.pop(0)
        ticks += delay
        clock.forward(seconds=delay)
        return told

    watch = StepWatch(now=slow, monotonic=lambda: ticks)

    assert all(watch.is_trusted(lease=LEASE) for _ in range(4))
