"""One event says "stop" to everything in this process: a signal, or the end of the supervisor."""

import os
import signal
import threading
from types import FrameType

_STANDARD_INPUT = 0


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets; a second one ends the process at once."""
    stop = threading.Event()

    def _ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, _ask)
    signal.signal(signal.SIGINT, _ask)
    return stop


def stop_with_parent(stop: threading.Event) -> None:
    """Set ``stop`` when standard input ends: the supervisor that holds its other end is gone.

    A supervisor that was killed must not leave a listener behind that holds the port.
    """

    def _watch() -> None:
        # not sys.stdin: its lock, held by a waiting thread, aborts the interpreter at its end
        while os.read(_STANDARD_INPUT, 1):
            pass
        stop.set()

    threading.Thread(target=_watch, name="parent", daemon=True).start()
