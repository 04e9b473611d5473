from datetime import timedelta

import pytest
from sqlalchemy import Engine

from schemas.figures import EchoFigures
from tests.fakes import Clock
from worker.queue.database import reading
from worker.queue.echoes import Echoes, last_echoes


@pytest.fixture
def echoes(engine: Engine, clock: Clock) -> Echoes:
    return Echoes(engine, now=clock)


def last(engine: Engine) -> dict[str, EchoFigures]:
    with reading(engine) as session:
        return {one.peer: one for one in last_echoes(session)}


def test_a_destination_that_stays_down_is_down_since_the_first_time(
    echoes: Echoes, engine: Engine, clock: Clock
) -> None:
    fell_at = clock()
    echoes.note("pacs", is_up=False, found="delivery.unreachable")
    clock.forward(minutes=5)
    echoes.note("pacs", is_up=False, found="status 0x0122")

    found = last(engine)["pacs"]
    assert (found.is_up, found.since, found.found) == (False, fell_at, "status 0x0122")
    assert found.checked_at == fell_at + timedelta(minutes=5)


def test_a_destination_that_comes_back_is_up_since_then(
    echoes: Echoes, engine: Engine, clock: Clock
) -> None:
    echoes.note("pacs", is_up=False, found="delivery.unreachable")
    clock.forward(minutes=5)
    echoes.note("pacs", is_up=True, found="")

    found = last(engine)["pacs"]
    assert (found.is_up, found.since, found.found) == (True, clock(), "")


@pytest.mark.parametrize("kept", [["archive"], []])
def test_what_is_no_destination_any_more_is_forgotten(
    echoes: Echoes, engine: Engine, kept: list[str]
) -> None:
    for name in ("pacs", "archive"):
        echoes.note(name, is_up=True, found="")

    echoes.forget_all_but(kept)

    assert list(last(engine)) == kept
