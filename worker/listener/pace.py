"""How often the audit trail is told of what a peer does again and again."""

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, replace

#: A peer that hammers, floods or guesses must not fill the database; the log has each time.
WINDOW_SECONDS = 60.0
_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    began: float  # of ``time.monotonic``
    told: int = 0
    left_out: int = 0


class Pace:
    """Lets so many rows of one kind and peer pass in a minute, and counts the others."""

    def __init__(self, *, most: int) -> None:
        """``most`` rows a minute for each key."""
        self._most = most
        self._windows: dict[Hashable, _Window] = {}
        self._lock = threading.Lock()

    def left_out(self, key: Hashable) -> int | None:
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
