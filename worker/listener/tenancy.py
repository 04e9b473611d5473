"""One listener for each storage root: a second one would remove what the first is receiving."""

import fcntl
import os
from pathlib import Path
from typing import Final

from worker.listener.errors import RootTakenError
from worker.logs import log

_FILE: Final = Path("run") / "listen.lock"


class Tenancy:
    """A lock on a storage root, held until it is given up or the process ends, however it ends."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._handle: int | None = None

    def begin(self) -> None:
        """Take the root; again is harmless.

        Over NFS the server keeps the lock, so that another machine is kept off, too. Where the file
        system has no locks, a line in the log says that nobody is.

        Raises:
            RootTakenError: another listener has it.
            OSError: the storage root cannot be written.
        """
        if self._handle is not None:
            return
        path = self._root / _FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise RootTakenError(root=self._root) from error
        except OSError as error:
            log.warning("listener.no_lock", errno=error.errno)
        self._handle = handle

    def end(self) -> None:
        """Let another listener have the root."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
