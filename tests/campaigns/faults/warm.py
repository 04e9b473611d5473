"""Children forked from a warm interpreter, so that coming back costs no seconds of imports.

Each is a process of its own, that dies alone and is missed by the real supervisor; only the
start of a fresh interpreter is saved. Where the figures are about memory, children start cold.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import TimeoutExpired
from typing import BinaryIO

_FIRST_FREE = 3  # descriptors from here on are the parent's: pipes of the siblings among them
_POLL_SECONDS = 0.02


class WarmProcess:
    """What the supervisor needs of ``subprocess.Popen``, for a fork."""

    def __init__(
        self, run: Callable[[Sequence[str]], None], arguments: Sequence[str], *, name: str
    ) -> None:
        ours, theirs = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become_child(run, arguments, name=name, standard_input=ours)
        os.close(ours)
        self.stdin: BinaryIO = os.fdopen(theirs, "wb")

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise TimeoutExpired("a warm process", timeout)
            time.sleep(_POLL_SECONDS)
        return code

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _become_child(
    run: Callable[[Sequence[str]], None],
    arguments: Sequence[str],
    *,
    name: str,
    standard_input: int,
) -> None:
    """Be a fresh process as far as that can be had, run, and never return."""
    code = 1
    try:
        os.dup2(standard_input, 0)
        os.closerange(_FIRST_FREE, 1024)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        Path("/proc/self/comm").write_text(name, encoding="ascii")
        run(arguments)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing may go back into the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
