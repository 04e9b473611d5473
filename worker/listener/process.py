"""The `listen` process: a listener that runs until it is told to stop."""

import gc
import threading

from schemas.errors import TransientError
from worker.listener.lean import uids_checked_once
from worker.listener.scp import Listener

#: How soon a dead accepting thread is noticed; it has never been seen to die.
_WATCH_SECONDS = 2.0


class ListenerDiedError(TransientError):
    """The thread that accepts associations ended by itself."""

    code = "listener.died"

    def __init__(self) -> None:
        super().__init__(
            "The thread that accepts associations ended. Nothing acknowledged is lost; the "
            "supervisor starts the process again. Its traceback stands above this line."
        )


def run(listener: Listener, *, stop: threading.Event) -> None:
    """Listen until ``stop`` is set, then answer what is arriving and return.

    Raises:
        ListenerDiedError: the accepting thread ended; let the supervisor start afresh.
        ListeningPortError: a port cannot be had.
        OSError: the spool cannot be had.
    """
    gc.freeze()  # pynetdicom collects every six seconds: what the libraries are made of stays out
    with uids_checked_once():
        listener.start()
        try:
            while not stop.wait(_WATCH_SECONDS):
                if not listener.is_listening:
                    raise ListenerDiedError
                listener.write_left_out()
        finally:
            listener.stop()
