import threading
from datetime import datetime, timedelta, tzinfo

import pytest
from sqlalchemy import Engine

from tests.fakes import Clock
from worker.operations.schedule import LEADER_LEASE, PeriodicTask, Schedule
from worker.queue.leadership import Leadership


@pytest.fixture
def clock() -> Clock:
    return Clock()


def leader(engine: Engine, clock: Clock, holder: str) -> Leadership:
    return Leadership(engine, now=clock, name="schedule", holder=holder)


def test_of_two_schedules_only_one_leads(engine: Engine, clock: Clock) -> None:
    assert leader(engine, clock, "first").hold(lease=LEADER_LEASE)
    assert not leader(engine, clock, "second").hold(lease=LEADER_LEASE)
    assert leader(engine, clock, "first").hold(lease=LEADER_LEASE)


def test_another_leads_when_the_leader_fell_silent(engine: Engine, clock: Clock) -> None:
    leader(engine, clock, "first").hold(lease=timedelta(seconds=60))

    clock.forward(minutes=2)

    assert leader(engine, clock, "second").hold(lease=LEADER_LEASE)
    assert not leader(engine, clock, "first").hold(lease=LEADER_LEASE)


def test_a_leader_that_stops_hands_over_at_once(engine: Engine, clock: Clock) -> None:
    first = leader(engine, clock, "first")
    first.hold(lease=LEADER_LEASE)

    first.give_up()

    assert leader(engine, clock, "second").hold(lease=LEADER_LEASE)


def test_a_follower_that_stops_does_not_end_the_lead_of_the_leader(
    engine: Engine, clock: Clock
) -> None:
    leader(engine, clock, "first").hold(lease=LEADER_LEASE)

    leader(engine, clock, "second").give_up()

    assert not leader(engine, clock, "third").hold(lease=LEADER_LEASE)


def test_a_task_is_not_done_where_another_leads(engine: Engine, clock: Clock) -> None:
    leader(engine, clock, "first").hold(lease=LEADER_LEASE)
    done: list[str] = []

    def work() -> int:
        done.append("rescue")
        return 1

    task = PeriodicTask(name="rescue", seconds=1, work=work)

    Schedule([task], leadership=leader(engine, clock, "second")).run_task(task)

    assert done == []


def test_a_task_that_fails_does_not_end_the_schedule(engine: Engine, clock: Clock) -> None:
    again, stop = threading.Event(), threading.Event()
    times: list[int] = []

    def work() -> int:
        times.append(1)
        if len(times) > 1:
            again.set()
        raise OSError(28, "No space left on device")

    schedule = Schedule(
        [PeriodicTask(name="seal", seconds=0.05, work=work)],
        leadership=leader(engine, clock, "first"),
    )
    thread = threading.Thread(target=schedule.run, args=(stop,))
    thread.start()

    assert again.wait(timeout=20)
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert leader(engine, clock, "second").hold(lease=LEADER_LEASE)


def test_a_clock_that_is_set_back_does_not_silence_the_schedule(
    engine: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift = timedelta()

    class WallClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override] # not a WallClock
            return datetime.now(tz) + shift

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", WallClock)
    monkeypatch.setattr("apscheduler.triggers.interval.datetime", WallClock)
    monkeypatch.setattr("worker.operations.schedule.datetime", WallClock)
    monkeypatch.setattr("worker.operations.schedule.WATCH_SECONDS", 0.1)
    done, stop = threading.Semaphore(0), threading.Event()

    def work() -> int:
        done.release()
        return 0

    schedule = Schedule(
        [PeriodicTask(name="rescue", seconds=0.3, work=work)],
        leadership=leader(engine, clock, "first"),
    )
    thread = threading.Thread(target=schedule.run, args=(stop,))
    thread.start()
    assert done.acquire(timeout=20)

    shift = timedelta(hours=-1)
    while done.acquire(blocking=False):
        pass

    assert all(done.acquire(timeout=20) for _ in range(3))
    stop.set()
    thread.join(timeout=20)


def test_a_task_that_is_due_at_the_start_does_not_wait_for_its_hour(
    engine: Engine, clock: Clock
) -> None:
    done, stop = threading.Event(), threading.Event()

    def work() -> int:
        done.set()
        return 0

    schedule = Schedule(
        [PeriodicTask(name="spool", seconds=3600, work=work, is_due_at_start=True)],
        leadership=leader(engine, clock, "first"),
    )
    thread = threading.Thread(target=schedule.run, args=(stop,))
    thread.start()

    assert done.wait(timeout=20)
    stop.set()
    thread.join(timeout=20)
