import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.fakes import Clock
from tests.worker.listener.conftest import RETRY, Site
from tests.worker.listener.encoding import dataset, explicit
from tests.worker.listener.sending import association, encoded_file, store
from worker.listener.process import ListenerDiedError, run
from worker.listener.scp import Listener
from worker.queue.jobs import JobQueue

CONTENT = dataset(after_study=explicit(0x7FE00010, "OW", bytes(50_000)))
REPOSITORY = Path(__file__).parents[3]
Start = Callable[[str], tuple[subprocess.Popen[str], int]]


@pytest.fixture
def start(tmp_path: Path, engine: Engine) -> Iterator[Start]:
    """Start a real process on ``tmp_path``; returns it and its port."""
    del engine  # only that the database is there
    started: list[subprocess.Popen[str]] = []

    def start(step: str) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker.listener.dying_listener", str(tmp_path), step],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("step", ["before_rename", "before_commit", "after_commit"])
def test_whatever_kills_the_listener_an_image_ends_as_one_job(
    start: Start, tmp_path: Path, engine: Engine, step: str
) -> None:
    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)
    process, port = start(step)
    assert store(port, sent) == [None]  # never acknowledged
    assert process.wait(20) == -signal.SIGKILL

    _, port = start("never")
    assert list((tmp_path / "incoming").iterdir()) == []
    assert store(port, sent) == [0x0000]

    queue = JobQueue(engine, now=Clock(), actor="test", release="r1", retry=RETRY)
    (job,) = queue.jobs()
    (kept,) = (tmp_path / "spool").rglob("*.dcm")
    assert job.sop_instance_uid == "1.2.3"
    assert kept.read_bytes().endswith(CONTENT)


def test_what_was_acknowledged_survives_a_kill(
    start: Start, tmp_path: Path, engine: Engine
) -> None:
    process, port = start("never")
    assert store(port, encoded_file(tmp_path / "sent.dcm", CONTENT)) == [0x0000]
    process.kill()
    process.wait(20)

    clock = Clock(datetime.now(tz=UTC))  # the process had the real time
    queue = JobQueue(engine, now=clock, actor="test", release="r1", retry=RETRY)
    claim = queue.claim(lease=RETRY.longest_delay)
    assert claim is not None
    assert (tmp_path / claim.spool_file).read_bytes().endswith(CONTENT)


def test_a_large_object_does_not_lie_in_memory(start: Start, tmp_path: Path) -> None:
    process, port = start("never")
    assert store(port, encoded_file(tmp_path / "small.dcm", CONTENT)) == [0x0000]
    before = most_memory_bytes(process.pid)
    pixels = explicit(0x7FE00010, "OW", bytes(32_000_000))
    large = encoded_file(tmp_path / "large.dcm", dataset(after_study=pixels))

    assert store(port, large) == [0x0000]

    assert most_memory_bytes(process.pid) - before < 12_000_000


def most_memory_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_sigterm_ends_the_process_cleanly_though_an_association_is_open(start: Start) -> None:
    process, port = start("never")
    with association(port) as opened:
        assert opened.is_established
        process.terminate()
        assert process.wait(20) == 0


def test_run_listens_until_it_is_told_to_stop(site: Site, tmp_path: Path) -> None:
    site.listener.stop()
    stop, listener = threading.Event(), site.listener
    thread = threading.Thread(target=run, args=(listener,), kwargs={"stop": stop})
    ready = threading.Event()
    start = listener.start

    def start_and_tell() -> None:
        start()
        ready.set()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(listener, "start", start_and_tell)
        thread.start()
        assert ready.wait(20)
        assert store(listener.port, encoded_file(tmp_path / "sent.dcm", CONTENT)) == [0x0000]
        stop.set()
        thread.join(20)
    assert not listener.is_listening


def test_a_dead_accepting_thread_is_an_error_for_the_supervisor(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.listener.stop()
    monkeypatch.setattr(Listener, "is_listening", False)

    with pytest.raises(ListenerDiedError):
        run(site.listener, stop=threading.Event())


def test_the_listen_process_loads_neither_torch_nor_pixels() -> None:
    code = (
        "import sys, worker.listener.process\n"
        "heavy = {'torch', 'timm', 'cv2', 'highdicom', 'models'}\n"
        "sys.exit(', '.join(heavy & sys.modules.keys()) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
