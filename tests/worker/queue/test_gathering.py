"""Arrivals that wait are written together, and what becomes of each is its own."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from schemas.errors import DatabaseUnavailableError
from schemas.jobs import Arrival, Receipt
from schemas.tables import Job, JobEventRow, Reception
from tests.fakes import Clock
from tests.orthanc import wait_for
from tests.worker.queue.makers import arrival
from worker.queue.database import reading
from worker.queue.gathering import Gathering
from worker.queue.ledger import Ledger, ledger

LIMIT_SECONDS = 20
MOST = 6


@dataclass(kw_only=True)
class Held:
    """Transactions that are counted; the first does not end before it is told to."""

    engine: Engine
    clock: Clock
    count: int = 0
    fails_first: bool = False
    has_begun: Event = field(default_factory=Event)
    may_end: Event = field(default_factory=Event)

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        self.count += 1
        is_first = self.count == 1
        with ledger(self.engine, now=self.clock, actor="test") as book:
            if not (is_first and self.fails_first):
                yield book
            if is_first:
                self.has_begun.set()
                assert self.may_end.wait(LIMIT_SECONDS)
        if is_first and self.fails_first:
            raise DatabaseUnavailableError(found="SQLITE_BUSY")


@pytest.fixture
def held(engine: Engine, clock: Clock) -> Held:
    return Held(engine=engine, clock=clock)


@contextmanager
def one_after_the_other(held: Held, arrivals: Sequence[Arrival]) -> Iterator[list[Future[Receipt]]]:
    """Give what becomes of each, where the first holds up all the others."""
    gathering = Gathering(held.ledger, release="r1")
    with ThreadPoolExecutor(len(arrivals)) as pool:
        first, *others = arrivals
        futures = [pool.submit(gathering.receive, first)]
        try:
            assert held.has_begun.wait(LIMIT_SECONDS)
            waiting = len(gathering._row)  # noqa: SLF001 - how many wait, which nobody else asks
            for number, other in enumerate(others, start=waiting + 1):
                futures.append(pool.submit(gathering.receive, other))
                wait_for(lambda number=number: len(gathering._row) == number)  # type: ignore[misc]  # noqa: SLF001 - likewise
        finally:
            held.may_end.set()
        yield futures


def uids(engine: Engine, table: type[Job | Reception] = Job) -> list[str]:
    with reading(engine) as session:
        return sorted(session.scalars(sa.select(table.sop_instance_uid)))


def test_all_that_wait_for_one_another_are_written_at_once(held: Held, engine: Engine) -> None:
    arrivals = [arrival(f"1.2.{number}") for number in range(MOST)]
    with one_after_the_other(held, arrivals) as futures:
        assert [future.result(LIMIT_SECONDS) for future in futures] == [Receipt.NEW] * MOST
    assert held.count == 2
    assert uids(engine) == uids(engine, Reception) == [one.sop_instance_uid for one in arrivals]


def test_the_same_image_twice_among_those_that_wait_is_one_job(held: Held, engine: Engine) -> None:
    arrivals = [arrival("1.2.0"), arrival("1.2.1"), arrival("1.2.1"), arrival("1.2.0")]
    with one_after_the_other(held, arrivals) as futures:
        receipts = [future.result(LIMIT_SECONDS) for future in futures]
    assert receipts == [Receipt.NEW, Receipt.NEW, Receipt.DUPLICATE, Receipt.DUPLICATE]
    assert uids(engine) == ["1.2.0", "1.2.1"]


@pytest.mark.parametrize("place", [0, 1, 3])
def test_what_is_wrong_with_one_touches_none_of_the_others(
    held: Held, engine: Engine, place: int
) -> None:
    arrivals = [arrival(f"1.2.{number}") for number in range(5)]
    wrong = arrival(f"1.2.{place}", called_ae=None)
    arrivals[place] = wrong
    if place == 0:  # it fails before it holds up anybody: let another one do that
        arrivals = [arrival("1.2.9"), *arrivals]
    with one_after_the_other(held, arrivals) as futures:
        told = [future.exception(LIMIT_SECONDS) for future in futures]
    kept = [one.sop_instance_uid for one in arrivals if one is not wrong]
    assert [type(error) for error in told if error is not None] == [IntegrityError]
    assert told[arrivals.index(wrong)] is not None
    assert uids(engine) == uids(engine, Reception) == sorted(kept)


def test_where_no_transaction_can_be_begun_the_others_try_for_themselves(
    engine: Engine, clock: Clock
) -> None:
    held = Held(engine=engine, clock=clock, fails_first=True)
    arrivals = [arrival(f"1.2.{number}") for number in range(3)]
    with one_after_the_other(held, arrivals) as futures:
        told = [future.exception(LIMIT_SECONDS) for future in futures]
    assert [type(error) for error in told] == [DatabaseUnavailableError, type(None), type(None)]
    assert uids(engine) == ["1.2.1", "1.2.2"]


def test_who_comes_after_a_failure_is_written(held: Held, engine: Engine) -> None:
    gathering = Gathering(held.ledger, release="r1")
    held.may_end.set()
    with pytest.raises(IntegrityError):
        gathering.receive(arrival("1.2.0", called_ae=None))
    assert gathering.receive(arrival("1.2.1")) is Receipt.NEW
    assert uids(engine) == ["1.2.1"]


def test_who_is_told_to_write_before_it_waits_leaves_nobody_waiting(
    held: Held, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread may lose the processor between joining the row and waiting in it."""
    joined = Gathering._join  # noqa: SLF001 - the place that a thread is stopped at

    def slowly(gathering: Gathering, one: Arrival) -> object:
        place = joined(gathering, one)
        if one.sop_instance_uid == "1.2.1":
            wait_for(lambda: place.is_first)
        return place

    monkeypatch.setattr(Gathering, "_join", slowly)
    arrivals = [arrival(f"1.2.{number}") for number in range(4)]
    with one_after_the_other(held, arrivals) as futures:
        assert [future.result(LIMIT_SECONDS) for future in futures] == [Receipt.NEW] * 4
    assert uids(engine) == [one.sop_instance_uid for one in arrivals]


_SENT = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), min_size=1, max_size=24)


def test_many_threads_leave_what_one_would(engine: Engine, clock: Clock) -> None:
    """The order of the threads decides which content is the first, and nothing else."""
    numbers = iter(range(10_000))

    @settings(
        max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(_SENT)
    def compare(sent: list[tuple[int, str]]) -> None:
        gathering = Gathering(lambda: ledger(engine, now=clock, actor="test"), release="r1")
        together, alone = f"1.{next(numbers)}", f"1.{next(numbers)}"
        with ThreadPoolExecutor(MOST) as pool:
            by_many = list(pool.map(gathering.receive, arrivals_of(sent, root=together)))
        by_one = [gathering.receive_alone(one) for one in arrivals_of(sent, root=alone)]

        assert told(sent, by_many) == told(sent, by_one)
        assert left(engine, together) == left(engine, alone)

    compare()


def arrivals_of(sent: list[tuple[int, str]], *, root: str) -> list[Arrival]:
    return [arrival(f"{root}.2.{number}", digest=letter * 64) for number, letter in sent]


def told(sent: list[tuple[int, str]], receipts: list[Receipt]) -> list[tuple[int, Receipt]]:
    return sorted((number, receipt) for (number, _), receipt in zip(sent, receipts, strict=True))


def left(engine: Engine, root: str) -> list[tuple[str, ...]]:
    """Return every line about images under ``root``, but for which content came first."""
    lines = (
        sa.select(Job.sop_instance_uid, JobEventRow.event, JobEventRow.reason, Job.state)
        .join(JobEventRow, JobEventRow.job_id == Job.id)
        .where(Job.sop_instance_uid.startswith(f"{root}.2."))
    )
    kept = sa.select(Reception.sop_instance_uid, Reception.digest).where(
        Reception.sop_instance_uid.startswith(f"{root}.2.")
    )
    with reading(engine) as session:
        rows = [tuple(map(str, row)) for row in (*session.execute(lines), *session.execute(kept))]
    return sorted(tuple(part.removeprefix(root) for part in row) for row in rows)
