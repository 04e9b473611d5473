"""The worker as everybody runs it: `boneage serve`, in processes that a test may kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schemas.config import Config, PeerSection
from schemas.jobs import JobState, JobView
from tests.orthanc import free_port, is_listening, wait_for
from worker.app import queues
from worker.operations.configuration import load_config
from worker.operations.peer import send_files

ROOT = Path(__file__).parents[2]

_SETTINGS = """\
[listener]
port = {port}

[[peer]]
name = "pacs"
ae_title = "{pacs_ae}"
port = {pacs_port}

[storage]
root = "storage"
# other programs may have filled this disk: no matter here
high_mark_percent = 100
low_mark_percent = 99

[inference]
devices = ["cpu"]
images_at_once = {at_once}
lease_seconds = 10

[delivery]
lease_seconds = 10
first_retry_seconds = 0.5

[schedule]
rescue_seconds = 1
seal_seconds = 1
constancy_hours = 0

[log]
level = "debug"
"""


class RunningWorker:
    """One installation in ``folder``; ``start`` and ``kill`` may be called again and again."""

    def __init__(
        self, folder: Path, *, pacs_ae: str, pacs_port: int, port: int = 0, at_once: int = 1
    ) -> None:
        self.folder = folder
        self.log_file = folder / "worker.log"
        self.settings_file = folder / "config.toml"
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.settings_file.write_text(
            _SETTINGS.format(port=self.port, pacs_ae=pacs_ae, pacs_port=pacs_port, at_once=at_once)
        )
        self._pacs_ae = pacs_ae
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self, *only: str) -> None:
        """Start all processes, or only these, and return when the listener answers."""
        command = [*self._command("serve"), *(part for name in only for part in ("--only", name))]
        with self.log_file.open("ab") as log:
            # a session of its own: one signal reaches the supervisor and every child
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=_environment(), start_new_session=True
            )
        wait_for(lambda: is_listening(self.port), limit_seconds=120, while_true=self._require_alive)

    def kill(self) -> None:
        """End every process as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill_while(self, state: JobState, *, count: int = 1) -> None:
        """End every process as a power cut would, when so many jobs at least are in ``state``."""
        while True:
            self.wait_for_jobs(state, count=count)
            assert self._process is not None
            os.killpg(self._process.pid, signal.SIGSTOP)
            if len(self.jobs(state)) >= count:
                self.kill()
                return
            os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> int:
        """End as systemd does, and return the exit code."""
        process, self._process = self._process, None
        assert process is not None
        process.terminate()
        return process.wait(timeout=60)

    @property
    def pid(self) -> int:
        """Return the process that keeps the others alive."""
        assert self._process is not None
        return self._process.pid

    def send(self, *paths: Path) -> list[int | None]:
        """Send files as the PACS, and return the statuses."""
        peer = PeerSection(name="worker", ae_title="BONEAGE", port=self.port)
        sent = send_files(paths, peer=peer, calling_ae=self._pacs_ae)
        return [one.status for one in sent]

    def config(self) -> Config:
        """Return the settings that it runs with."""
        return load_config(self.settings_file, environment={})

    def jobs(self, *states: JobState) -> list[JobView]:
        """Return its jobs, as an operator sees them."""
        return queues.operator_queue(self.config()).jobs(states=states)

    def wait_for_jobs(self, state: JobState, *, count: int, limit_seconds: float = 300) -> None:
        """Return when at least ``count`` jobs are in ``state``."""
        queue = queues.operator_queue(self.config())
        wait_for(
            lambda: len(queue.jobs(states=(state,))) >= count,
            limit_seconds=limit_seconds,
            while_true=self._require_alive,
        )

    def wait_for_log(self, event: str) -> None:
        """Return when a line with this event stands in the log."""
        wait_for(
            lambda: event in self.log_file.read_text(errors="replace"),
            limit_seconds=120,
            while_true=self._require_alive,
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command of the command line with these settings."""
        return subprocess.run(
            self._command(*arguments),
            capture_output=True,
            text=True,
            env=_environment(),
            check=False,
            timeout=300,
        )

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON
        """Return what a command prints with ``--json``."""
        ended = self.command(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return json.loads(ended.stdout)

    def _command(self, *arguments: str) -> list[str]:
        words = [sys.executable, "-m", "worker", *arguments]
        return [*words, "--config", str(self.settings_file)]

    def _require_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            text = self.log_file.read_text(errors="replace")
            raise AssertionError(f"the worker is not running; the end of its log:\n{text[-3000:]}")


def _environment() -> dict[str, str]:
    settings = {name: value for name, value in os.environ.items() if "__" not in name}
    return settings | {"PYTHONPATH": str(ROOT)}
