"""A sign of life from a thread of its own, for as long as the work inside a ``with`` goes on."""

import threading
from abc import ABC, abstractmethod
from datetime import timedelta
from types import TracebackType
from typing import Self

_BEATS_PER_LEASE = 3


def pause_within(lease: timedelta) -> float:
    """Return the seconds between two renewals: two may be missed, and the lease still holds."""
    return lease.total_seconds() / _BEATS_PER_LEASE


class Pulse(ABC):
    """A thread that beats until the block ends, or until it is told that there is no more to do."""

    def __init__(self, *, seconds: float) -> None:
        """``seconds`` between two beats."""
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds) and self.beat():
            pass

    @abstractmethod
    def beat(self) -> bool:
        """Do what is due now; return whether to go on."""
