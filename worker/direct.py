"""Write a large file in aligned steps, straight from one buffer to the disk.

Through the page cache each byte is copied once more, into memory that is freshly had for it, and
one long flush at the end waits for all of them. Past it (O_DIRECT) the disk writes while the peer
sends, and the flush at the end finds nothing left but the file's own record.
"""

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Callable
from io import FileIO
from typing import Final, Protocol

#: one write to the disk; as much memory as an association takes from its first object on
STEP_BYTES: Final = 1024 * 1024
#: O_DIRECT wants places and lengths in whole blocks of the disk, which have 512 or 4096 bytes
_BLOCK_BYTES: Final = 4096
#: populated: at once, and not by two hundred and fifty-six page faults
_MEMORY: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE


class Fillable(Protocol):
    """What is filled from front to back, a piece at a time."""

    @property
    def room(self) -> memoryview:
        """Return where the next bytes may be put; never empty."""
        ...

    def advance(self, count: int) -> None:
        """Take the first ``count`` bytes of ``room``."""
        ...


def new_memory() -> memoryview:
    """Return what one file is filled in; to have it anew for each costs a tenth of receiving it."""
    return memoryview(mmap.mmap(-1, STEP_BYTES, flags=_MEMORY))


def put(content: bytes, into: Fillable) -> None:
    """Take all of ``content`` into what is filled; raises what its ``advance`` raises."""
    left = memoryview(content)
    while left:
        room = into.room
        count = min(len(room), len(left))
        room[:count] = left[:count]
        into.advance(count)
        left = left[count:]


class DirectFile:
    """A new file that is filled from front to back; plain where the file system wants it so.

    Any thread may abandon it: it is not written after it was closed.
    """

    def __init__(
        self,
        file: FileIO,
        *,
        head: bytes = b"",
        on_step: Callable[[memoryview], object] = len,
        memory: memoryview | None = None,
    ) -> None:
        """Take an empty file; what comes behind its ``head`` is shown to ``on_step`` as well.

        ``memory`` is from ``new_memory``, and of the one thread that fills and closes this file: it
        may fill others there before and after, and no other thread may.
        """
        self._lock = threading.Lock()
        self._buffer = new_memory() if memory is None else memory
        self._buffer[: len(head)] = head
        self._filled = self._shown = len(head)
        self._on_step = on_step
        self._file = file
        self._is_direct = False
        self._switch(is_direct=True)

    @property
    def room(self) -> memoryview:
        """Return the buffer's free part, never empty, for what comes next."""
        return self._buffer[self._filled :]

    def advance(self, count: int) -> None:
        """Take the first ``count`` bytes of ``room`` into the file.

        Raises:
            OSError: the disk refused.
        """
        self._filled += count
        if self._filled == STEP_BYTES:
            self._show()
            with self._lock:
                self._write(self._buffer)
            self._filled = self._shown = 0

    def close(self) -> None:
        """Write the rest and close the file; it is not flushed to the disk yet.

        Raises:
            OSError: the disk refused; the file is closed all the same.
        """
        self._show()
        with self._lock:
            if self._file.closed:
                return
            with self._file:
                whole = self._filled - self._filled % _BLOCK_BYTES
                self._write(self._buffer[:whole])
                self._switch(is_direct=False)
                self._write(self._buffer[whole : self._filled])

    def abandon(self) -> None:
        """Close the file without what is left in the buffer.

        Raises:
            OSError: the disk refused; the file is closed all the same.
        """
        with self._lock:
            self._file.close()

    def _show(self) -> None:
        self._on_step(self._buffer[self._shown : self._filled])
        self._shown = self._filled

    def _write(self, view: memoryview) -> None:
        while view and not self._file.closed:
            try:
                view = view[self._file.write(view) or 0 :]
            except OSError as error:
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._switch(is_direct=False)  # it took the flag, but not these lengths

    def _switch(self, *, is_direct: bool) -> None:
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        wanted = flags | os.O_DIRECT if is_direct else flags & ~os.O_DIRECT
        try:
            fcntl.fcntl(self._file, fcntl.F_SETFL, wanted)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return  # this file system knows only the way through the page cache
        self._is_direct = is_direct
