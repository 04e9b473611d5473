"""Start and end of each process in the audit trail, as PS3.15 A.5.3.1 asks for.

A process writes its own start, and its end when it is asked to end. One that was killed cannot:
its supervisor writes that it fell. No writing here holds up the work: images come first.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from queue import SimpleQueue
from typing import Final, Protocol

from schemas.errors import BoneAgeError
from worker.logs import log

STARTED: Final = "process_started"
STOPPED: Final = "process_stopped"
FELL: Final = "process_fell"

#: how long an end waits for the database; a supervisor kills after 30 seconds
LAST_WORD_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 10.0
#: how long a start waits, so that it usually stands before whatever the process does
_FIRST_WORD_SECONDS: Final = 1.0


class Record(Protocol):
    """``JobQueue.record_event``, on a database that may be away."""

    def __call__(  # noqa: D102 - see JobQueue
        self, *, event: str, reason: str, detail: dict[str, str]
    ) -> None: ...


class LifeTrail:
    """Writes what became of processes, one after the other, in a thread of its own."""

    def __init__(self, record: Record, *, launcher: str, now: Callable[[], datetime]) -> None:
        """``launcher`` is who started them: a user of this machine, or a supervisor."""
        self._record = record
        self._launcher = launcher
        self._now = now
        self._waiting: SimpleQueue[tuple[str, str, dict[str, str]] | None] = SimpleQueue()
        self._has_tried = threading.Event()
        self._is_ending = threading.Event()
        self._writer = threading.Thread(target=self._write_all, name="audit", daemon=True)

    @contextmanager
    def living(self, application: str, *, version: str, is_supervised: bool) -> Iterator[None]:
        """Write the start now and the end afterwards; tried again while the database is away.

        Args:
            application: how the process stands in the trail, ``listen@host:42``.
            version: of the software.
            is_supervised: an end by an error is left to the supervisor, who sees it, too.
        """
        self._writer.start()
        self._put(STARTED, "", application, version=version)
        self._has_tried.wait(_FIRST_WORD_SECONDS)
        try:
            yield
        except BaseException as error:
            if not is_supervised:
                why = getattr(error, "code", None) or type(error).__name__
                self._put(FELL, str(why), application)
            raise
        else:
            self._put(STOPPED, "", application)
        finally:
            self._waiting.put(None)
            self._is_ending.set()
            self._writer.join(LAST_WORD_SECONDS)

    def fell(self, application: str, *, exit_code: int) -> None:
        """Write that a process ended by itself; return before that stands there."""
        self._put(FELL, f"exit code {exit_code}", application)

    def _put(self, event: str, reason: str, application: str, **more: str) -> None:
        detail = {
            "application": application,
            "launcher": self._launcher,
            "happened_at": self._now().isoformat(timespec="milliseconds"),
            **more,
        }
        self._waiting.put((event, reason, detail))

    def _write_all(self) -> None:
        while (told := self._waiting.get()) is not None:
            event, reason, detail = told
            while not self._is_written(event, reason, detail):
                if self._is_ending.wait(_RETRY_SECONDS):
                    break

    def _is_written(self, event: str, reason: str, detail: dict[str, str]) -> bool:
        try:
            self._record(event=event, reason=reason, detail=detail)
        except BoneAgeError as error:
            log.error("audit.not_written", name=event, code=error.code)
            return False
        finally:
            self._has_tried.set()
        return True
