from contextlib import suppress
from threading import Event

import pytest
from sqlalchemy import Engine

from schemas.errors import DatabaseUnavailableError
from schemas.jobs import JobEvent
from tests.fakes import Clock
from tests.worker.queue.makers import RETRY
from worker.operations import lives
from worker.operations.lives import LifeTrail
from worker.queue.audit import AuditTrail
from worker.queue.jobs import JobQueue

LISTEN, INFER = "listen@worker-1:42", "infer:cpu@worker-1:43"


@pytest.fixture
def queue(engine: Engine) -> JobQueue:
    return JobQueue(engine, now=Clock(), actor="test", release="", retry=RETRY)


@pytest.fixture
def trail(queue: JobQueue) -> LifeTrail:
    return LifeTrail(queue.record_event, launcher="user:anna", now=Clock())


def told(engine: Engine) -> list[JobEvent]:
    return list(AuditTrail(engine, now=Clock()).list())


def test_a_process_writes_its_start_and_its_end(trail: LifeTrail, engine: Engine) -> None:
    with trail.living(LISTEN, version="1.0", is_supervised=False):
        pass

    begun, ended = told(engine)
    assert (begun.event, ended.event) == ("process_started", "process_stopped")
    assert begun.detail["application"] == ended.detail["application"] == LISTEN
    assert (begun.detail["launcher"], begun.detail["version"]) == ("user:anna", "1.0")


@pytest.mark.parametrize(("is_supervised", "ends"), [(False, ["process_fell"]), (True, [])])
def test_an_end_by_an_error_is_told_once_by_who_sees_it_last(
    trail: LifeTrail, engine: Engine, *, is_supervised: bool, ends: list[str]
) -> None:
    with (
        suppress(DatabaseUnavailableError),
        trail.living(LISTEN, version="1.0", is_supervised=is_supervised),
    ):
        raise DatabaseUnavailableError(found="away")

    assert [one.event for one in told(engine)] == ["process_started", *ends]


def test_a_supervisor_tells_who_fell(trail: LifeTrail, engine: Engine) -> None:
    with trail.living("serve@worker-1:41", version="1.0", is_supervised=False):
        trail.fell(INFER, exit_code=-9)

    fallen = told(engine)[1]
    assert (fallen.event, fallen.reason) == ("process_fell", "exit code -9")
    assert fallen.detail["application"] == INFER


def test_what_a_database_that_was_away_did_not_take_is_written_when_it_is_back(
    queue: JobQueue, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lives, "_RETRY_SECONDS", 0.01)
    is_back, was_refused, was_taken = Event(), Event(), Event()

    def record(*, event: str, reason: str, detail: dict[str, str]) -> None:
        if not is_back.is_set():
            was_refused.set()
            raise DatabaseUnavailableError(found="away")
        queue.record_event(event=event, reason=reason, detail=detail)
        was_taken.set()

    trail = LifeTrail(record, launcher="user:anna", now=Clock())
    with trail.living(LISTEN, version="1.0", is_supervised=False):
        assert was_refused.wait(20)
        is_back.set()
        assert was_taken.wait(20)

    assert [one.event for one in told(engine)] == ["process_started", "process_stopped"]


def test_a_database_that_stays_away_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives, "LAST_WORD_SECONDS", 0.05)
    hung = Event()

    def record(*, event: str, reason: str, detail: dict[str, str]) -> None:
        del event, reason, detail
        hung.wait(20)

    trail = LifeTrail(record, launcher="user:anna", now=Clock())
    with trail.living(LISTEN, version="1.0", is_supervised=False):
        pass

    assert not hung.is_set()
    hung.set()
