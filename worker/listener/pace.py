"""How often the audit trail is told of what a peer does again and again."""

import threading
import time
from dataclasses import dataclass, replace

from worker.logs import log
from worker.queue.jobs import JobQueue

#: A peer that hammers, floods or guesses must not fill the database; the log has each time.
WINDOW_SECONDS = 60.0
_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """What a peer does again and again: rows that differ in nothing of this are one kind."""

    event: str
    code: str
    calling_ae: str
    peer_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    began: float  # of ``time.monotonic``
    told: int = 0
    left_out: int = 0


class Pace:
    """Lets so many rows of one kind and peer pass in a minute, and counts the others."""

    def __init__(self, *, most: int) -> None:
        """``most`` rows a minute for each kind."""
        self._most = most
        self._windows: dict[Repeated, _Window] = {}
        self._lock = threading.Lock()

    def left_out(self, key: Repeated) -> int | None:
        """Return how many were left out since the last row; ``None``: leave this one out, too."""
        now = time.monotonic()
        with self._lock:
            window = self._windows.get(key)
            if window is None:
                if not self._has_place(now):
                    return None  # somebody guesses names: the log has them
                window = _Window(began=now)
            elif now - window.began >= WINDOW_SECONDS:
                window = replace(window, began=now, told=0)
            if window.told >= self._most:
                self._windows[key] = replace(window, left_out=window.left_out + 1)
                return None
            self._windows[key] = replace(window, told=window.told + 1, left_out=0)
            return window.left_out

    def write_left_out(self, queue: JobQueue, *, is_last: bool = False) -> None:
        """Write what was left out of minutes that are over, though nothing more of it came.

        ``is_last``: of the minutes that are not over, too, because this listener ends.
        """
        for kind, count in self._take_left_out(is_last=is_last).items():
            try:
                queue.record_event(
                    event=kind.event,
                    reason=kind.code,
                    detail={
                        "calling_ae": kind.calling_ae,
                        "peer_address": kind.peer_address,
                        **counted(count),
                    },
                )
            except Exception:  # noqa: BLE001 - receiving goes on; the log has each of them
                log.exception("receive.refusals_not_audited", count=count)

    def _take_left_out(self, *, is_last: bool) -> dict[Repeated, int]:
        oldest = time.monotonic() - (0 if is_last else WINDOW_SECONDS)
        with self._lock:
            taken = {
                kind: window.left_out
                for kind, window in self._windows.items()
                if window.left_out and window.began <= oldest
            }
            for kind in taken:
                self._windows[kind] = replace(self._windows[kind], left_out=0)
            return taken

    def _has_place(self, now: float) -> bool:
        if len(self._windows) < _MOST_REMEMBERED:
            return True
        oldest = min(self._windows, key=lambda key: self._windows[key].began)
        if now - self._windows[oldest].began < WINDOW_SECONDS:
            return False
        del self._windows[oldest]
        return True


def counted(left_out: int) -> dict[str, int]:
    """Return what a row says of those that were left out before it; nothing where none was."""
    return {"left_out": left_out} if left_out else {}
