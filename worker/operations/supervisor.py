"""`boneage serve`: keeps the processes of the worker alive, and stops them together.

A CUDA crash must not stop us from receiving, and a PACS outage must not stop us from predicting:
each step is a process of its own, and this small parent starts it again when it falls.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from schemas.jobs import RetryPolicy
from worker.logs import log

#: a child that asks for other settings will not get better by being started again
USAGE_EXIT = 2

RESTARTS = RetryPolicy(
    attempts=1_000_000,  # for ever: at night nobody is there to start it again
    first_delay=timedelta(seconds=0.5),
    factor=2,
    longest_delay=timedelta(seconds=30),
)
#: a child that lived so long has recovered; its next fall counts as the first
STABLE_SECONDS = 60.0
POLL_SECONDS = 0.1


#: told of each process that ended without being asked, or had to be killed: name, id, exit code
OnFall = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process to keep alive."""

    name: str  #: "listen", "infer:cuda:0" …
    command: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    falls: int = field(default=0)


class Supervisor:
    """Starts, restarts with backoff, and stops; nothing else."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        restarts: RetryPolicy = RESTARTS,
        grace_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        on_fall: OnFall = lambda _name, _pid, _exit_code: None,
    ) -> None:
        self._children = [_Child(spec=spec) for spec in specs]
        self._restarts = restarts
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._on_fall = on_fall

    def run(self, stop: threading.Event) -> int:
        """Keep every process alive until ``stop`` is set, then end them all.

        Returns:
            0 after a clean stop; 1 when a process had to be killed; 2 when a process refused
            its settings, which ends the others too.
        """
        refused = False
        try:
            while not stop.is_set() and not refused:
                for child in self._children:
                    refused |= self._tend(child)
                stop.wait(POLL_SECONDS)
        finally:
            is_clean = self._end_all()
        if refused:
            return USAGE_EXIT
        return 0 if is_clean else 1

    def pass_on(self, number: int) -> None:
        """Send a signal to every process that runs."""
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(number)

    def _tend(self, child: _Child) -> bool:
        """Start ``child`` if it is due; return whether it refused its settings."""
        if child.process is None:
            if self._clock() >= child.start_again_at:
                self._start(child)
            return False
        exit_code = child.process.poll()
        if exit_code is None:
            return False
        self._note_fall(child, pid=child.process.pid, exit_code=exit_code)
        return exit_code == USAGE_EXIT

    def _start(self, child: _Child) -> None:
        # a child is born with SIGHUP held back, and lets it in once it knows what to do with it
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            # the child reads this pipe: its end tells it that we are gone
            child.process = subprocess.Popen(child.spec.command, stdin=subprocess.PIPE)  # noqa: S603 - our own command
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        child.started_at = self._clock()
        log.info("supervisor.started", name=child.spec.name, pid=child.process.pid)

    def _note_fall(self, child: _Child, *, pid: int, exit_code: int) -> None:
        self._on_fall(child.spec.name, pid, exit_code)
        lived = self._clock() - child.started_at
        child.falls = 1 if lived >= STABLE_SECONDS else child.falls + 1
        delay = self._restarts.delay_after(child.falls).total_seconds()
        child.start_again_at = self._clock() + delay
        _close_pipe(child)
        child.process = None
        log.error(
            "supervisor.fell",
            name=child.spec.name,
            exit_code=exit_code,
            seconds=round(lived, 3),
            count=child.falls,
            delay_seconds=delay,
        )

    def _end_all(self) -> bool:
        """Ask every process to end, wait, kill what is left; return whether all went by asking."""
        running = [child for child in self._children if child.process is not None]
        for child in running:
            if child.process is not None:
                child.process.terminate()
                _close_pipe(child)
        deadline = self._clock() + self._grace_seconds
        is_clean = True
        for child in running:
            is_clean &= self._await_end(child, deadline)
        return is_clean

    def _await_end(self, child: _Child, deadline: float) -> bool:
        process = child.process
        if process is None:
            return True
        try:
            exit_code = process.wait(timeout=max(0.0, deadline - self._clock()))
        except subprocess.TimeoutExpired:
            process.kill()
            self._on_fall(child.spec.name, process.pid, process.wait())
            log.error("supervisor.killed", name=child.spec.name, seconds=self._grace_seconds)
            return False
        log.info("supervisor.stopped", name=child.spec.name, exit_code=exit_code)
        return True


def _close_pipe(child: _Child) -> None:
    if child.process is not None and child.process.stdin is not None:
        child.process.stdin.close()
