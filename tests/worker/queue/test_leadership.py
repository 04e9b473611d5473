from datetime import timedelta

import pytest
from sqlalchemy import Engine

from tests.fakes import Clock
from worker.queue.leadership import Leadership

LEASE = timedelta(seconds=60)


@pytest.fixture
def first(engine: Engine, clock: Clock) -> Leadership:
    return Leadership(engine, now=clock, name="schedule", holder="schedule@a:1")


@pytest.fixture
def second(engine: Engine, clock: Clock) -> Leadership:
    return Leadership(engine, now=clock, name="schedule", holder="schedule@b:1")


def test_of_two_that_run_one_leads(first: Leadership, second: Leadership) -> None:
    assert first.hold(lease=LEASE)
    assert not second.hold(lease=LEASE)


def test_who_leads_goes_on_leading(first: Leadership, second: Leadership, clock: Clock) -> None:
    first.hold(lease=LEASE)
    clock.forward(seconds=40)
    assert first.hold(lease=LEASE)
    clock.forward(seconds=40)

    assert not second.hold(lease=LEASE)


def test_another_takes_over_from_one_that_fell_silent(
    first: Leadership, second: Leadership, clock: Clock
) -> None:
    first.hold(lease=LEASE)
    clock.forward(seconds=60)

    assert second.hold(lease=LEASE)
    assert not first.hold(lease=LEASE)


def test_who_gives_up_lets_another_lead_at_once(first: Leadership, second: Leadership) -> None:
    first.hold(lease=LEASE)
    second.give_up()
    assert not second.hold(lease=LEASE)
    first.give_up()

    assert second.hold(lease=LEASE)


def test_offices_do_not_know_one_another(first: Leadership, engine: Engine, clock: Clock) -> None:
    first.hold(lease=LEASE)

    assert Leadership(engine, now=clock, name="backup", holder="b").hold(lease=LEASE)


def test_a_lead_taken_before_the_clock_was_set_back_does_not_lie_with_the_dead_for_hours(
    first: Leadership, second: Leadership, clock: Clock
) -> None:
    first.hold(lease=LEASE)
    clock.back(hours=5)

    assert second.hold(lease=LEASE)
