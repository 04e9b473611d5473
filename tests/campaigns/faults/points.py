"""Where a process may be killed: before and after each durable step, wrapped from outside.

A point is armed by a file, so that one service serves many runs; who reaches it takes the file
away and is gone, as by a power cut.
"""

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

ARMED = "armed.json"
FIRED = "fired.json"
#: Command Field (0000,0100) of a C-STORE response, PS3.7 table 9.3-2
_STORE_RESPONSE = b"\0\0\0\1\2\0\0\0\1\x80"


def _always(_arguments: tuple[Any, ...], _named: dict[str, Any], _result: object) -> bool:
    return True


def _gave_something(_arguments: tuple[Any, ...], _named: dict[str, Any], result: object) -> bool:
    return bool(result)


def _into_spool(arguments: tuple[Any, ...], _named: dict[str, Any], _result: object) -> bool:
    return "spool" in Path(arguments[1]).parts


def _store_response(arguments: tuple[Any, ...], _named: dict[str, Any], _result: object) -> bool:
    return _STORE_RESPONSE in arguments[1]


def _was_sent(_arguments: tuple[Any, ...], named: dict[str, Any], _result: object) -> bool:
    return named.get("event") == "sent"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One place in one process."""

    name: str  #: "listen.renamed"; the process stands before the dot
    where: str  #: "package.module:Class.method"
    is_before: bool = False  #: the call has not begun; else it has just ended
    counts: Callable[[tuple[Any, ...], dict[str, Any], object], bool] = _always
    most_nth: int = 3  #: up to which of the calls of one run may be the last

    @property
    def process(self) -> str:
        return self.name.partition(".")[0]


_JOBS = "worker.queue.jobs"
_SPOOL = "worker.listener.spool"
_OBJECTS = "worker.delivery.objects"
_PROOFS = "worker.queue.commitments:Commitments"

POINTS = (
    # receive: half, flush, name, folder, row, answer
    Point(name="listen.half_opened", where=f"{_SPOOL}:Spool.open"),
    Point(name="listen.half_written", where=f"{_SPOOL}:IncomingFile.advance", most_nth=8),
    Point(name="listen.before_fsync", where=f"{_SPOOL}:keep_durably", is_before=True),
    Point(name="listen.fsynced", where="os:replace", is_before=True, counts=_into_spool),
    Point(name="listen.renamed", where="os:replace", counts=_into_spool),
    Point(name="listen.folder_synced", where=f"{_SPOOL}:keep_durably"),
    Point(name="listen.reception_not_committed", where="worker.queue.gathering:take_in"),
    Point(name="listen.reception_committed", where=f"{_JOBS}:JobQueue.receive"),
    Point(
        name="listen.answered",
        where="worker.listener.transport:GuardedReader.answer",
        counts=_store_response,
    ),
    Point(name="listen.proof_not_committed", where=f"{_PROOFS}.settle", is_before=True, most_nth=1),
    Point(name="listen.proof_committed", where=f"{_PROOFS}.settle", most_nth=1),
    # estimate: claim, files, result
    Point(
        name="infer.claim_not_committed", where=f"{_JOBS}:take_oldest_due", counts=_gave_something
    ),
    Point(name="infer.claimed", where=f"{_JOBS}:JobQueue.claim", counts=_gave_something),
    Point(name="infer.estimated", where="worker.inference.worker:write_result", is_before=True),
    Point(name="infer.one_file_written", where="worker.files:_write_whole"),
    Point(name="infer.files_written", where="worker.inference.worker:write_result"),
    Point(name="infer.result_not_committed", where="worker.queue.endings:add_results"),
    Point(name="infer.settled", where=f"{_JOBS}:JobQueue.settle"),
    # deliver: claim, object, answer, proof
    Point(name="deliver.claimed", where="worker.queue.outbox:Outbox.claim", counts=_gave_something),
    Point(name="deliver.report_built", where=f"{_OBJECTS}:_write_once", is_before=True),
    Point(name="deliver.report_written", where=f"{_OBJECTS}:_write_once"),
    Point(name="deliver.offered", where="worker.queue.outbox:Outbox.record_output"),
    Point(name="deliver.answered", where="worker.delivery.scu:Association.store"),
    Point(
        name="deliver.sent_not_committed", where="worker.queue.outbox:note_row", counts=_was_sent
    ),
    Point(name="deliver.sent", where="worker.queue.outbox:Outbox.mark_sent"),
    Point(name="deliver.proof_begun", where=f"{_PROOFS}.begin", counts=_gave_something, most_nth=1),
    Point(
        name="deliver.proof_asked",
        where="worker.delivery.scu:Association.request_commitment",
        most_nth=1,
    ),
    # keep house
    Point(name="schedule.rescue_not_committed", where=f"{_JOBS}:rescue_jobs", most_nth=2),
    Point(name="schedule.seal_not_committed", where="worker.queue.audit:_extend", most_nth=2),
    Point(
        name="schedule.anchor_not_written",
        where="worker.queue.audit:write_anchor",
        is_before=True,
        most_nth=2,
    ),
    Point(name="schedule.anchor_written", where="worker.queue.audit:write_anchor", most_nth=2),
)

#: killed from outside, at any moment: the supervisor alone, and everything together
SUPERVISOR, POWER = "serve.killed", "everything.killed"
NAMES = (*(point.name for point in POINTS), SUPERVISOR, POWER)


@dataclass(frozen=True, kw_only=True)
class Arming:
    """Which call of which point ends its process."""

    point: str
    nth: int
    run: int  #: calls are counted anew in each run


def arm(folder: Path, arming: Arming) -> None:
    """Arm one point for whichever process reaches it first."""
    (folder / FIRED).unlink(missing_ok=True)
    beside = folder / f"{ARMED}.part"
    beside.write_text(json.dumps(asdict(arming)), encoding="ascii")
    beside.replace(folder / ARMED)


def has_fired(folder: Path) -> bool:
    return (folder / FIRED).exists()


class Trap:
    """Wraps the points of one process, and ends it at the one that is armed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._calls: dict[tuple[int, str], int] = {}

    def set(self, process: str) -> None:
        """Wrap every point of ``process``."""
        for point in POINTS:
            if point.process == process:
                self._wrap(point)

    def _wrap(self, point: Point) -> None:
        module, _, path = point.where.partition(":")
        owner: Any = import_module(module)
        *classes, name = path.split(".")
        for each in classes:
            owner = getattr(owner, each)
        inner = getattr(owner, name)

        @wraps(inner)
        def wrapped(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - any function
            if point.is_before and point.counts(arguments, named, None):
                self.reach(point.name)
            result = inner(*arguments, **named)
            if not point.is_before and point.counts(arguments, named, result):
                self.reach(point.name)
            return result

        setattr(owner, name, wrapped)

    def reach(self, name: str) -> None:
        """Count a call; end the process if this is the one."""
        try:
            armed = Arming(**json.loads((self._folder / ARMED).read_text(encoding="ascii")))
        except FileNotFoundError:
            return
        if armed.point != name:
            return
        with self._lock:
            count = self._calls[armed.run, name] = self._calls.get((armed.run, name), 0) + 1
            if count < armed.nth:
                return
            try:
                (self._folder / ARMED).rename(self._folder / FIRED)
            except FileNotFoundError:
                return
            os.kill(os.getpid(), signal.SIGKILL)
