import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from schemas.jobs import RetryPolicy
from worker.operations.supervisor import ProcessSpec, Supervisor

AT_ONCE = RetryPolicy(
    attempts=100,
    first_delay=timedelta(milliseconds=10),
    factor=1,
    longest_delay=timedelta(milliseconds=10),
)


def child(name: str, program: str) -> ProcessSpec:
    return ProcessSpec(name=name, command=(sys.executable, "-c", textwrap.dedent(program)))


def obedient(name: str, folder: Path) -> ProcessSpec:
    """A process that writes its pid under its name and waits to be told to stop."""
    return child(
        name,
        f"""
        import os, signal, sys, threading
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        file = {str(folder)!r} + "/{name}." + str(os.getpid())
        open(file + ".part", "w").close()
        os.rename(file + ".part", file + ".pid")
        stop.wait()
        """,
    )


def until(holds: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait for a fact of another process, with a time limit."""
    deadline = time.monotonic() + seconds
    moment = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        moment.wait(0.02)


def pids(folder: Path, name: str) -> list[int]:
    return [int(path.name.split(".")[1]) for path in folder.glob(f"{name}.*.pid")]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def running(supervisor: Supervisor, stop: threading.Event) -> tuple[threading.Thread, list[int]]:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(supervisor.run(stop)))
    thread.start()
    return thread, codes


def test_a_process_that_falls_is_started_again_and_the_others_stay(tmp_path: Path) -> None:
    stop = threading.Event()
    supervisor = Supervisor(
        [obedient("listen", tmp_path), obedient("infer", tmp_path)], restarts=AT_ONCE
    )
    thread, codes = running(supervisor, stop)
    until(lambda: len(pids(tmp_path, "listen")) == len(pids(tmp_path, "infer")) == 1)
    (listener,) = pids(tmp_path, "listen")

    os.kill(pids(tmp_path, "infer")[0], signal.SIGKILL)

    until(lambda: len(pids(tmp_path, "infer")) == 2)
    assert pids(tmp_path, "listen") == [listener]
    assert is_alive(listener)
    stop.set()
    thread.join(timeout=20)
    assert codes == [0]


def test_a_stop_ends_every_process_with_exit_code_0(tmp_path: Path) -> None:
    stop = threading.Event()
    thread, codes = running(
        Supervisor([obedient("listen", tmp_path), obedient("deliver", tmp_path)]), stop
    )
    until(lambda: len(pids(tmp_path, "listen") + pids(tmp_path, "deliver")) == 2)

    stop.set()
    thread.join(timeout=20)

    assert codes == [0]
    assert not any(is_alive(pid) for pid in pids(tmp_path, "listen") + pids(tmp_path, "deliver"))


def test_a_process_that_does_not_listen_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    deaf = child(
        "infer",
        f"""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({str(tmp_path)!r} + "/deaf", "w").close()
        while True:
            time.sleep(60)
        """,
    )
    stop = threading.Event()
    thread, codes = running(Supervisor([deaf], grace_seconds=0.2), stop)
    until((tmp_path / "deaf").exists)

    stop.set()
    thread.join(timeout=20)

    assert codes == [1]


def test_a_process_that_refuses_its_settings_ends_all_with_exit_code_2(tmp_path: Path) -> None:
    stop = threading.Event()

    code = Supervisor(
        [obedient("listen", tmp_path), child("infer", "raise SystemExit(2)")], restarts=AT_ONCE
    ).run(stop)

    assert code == 2
    assert not any(is_alive(pid) for pid in pids(tmp_path, "listen"))


def test_a_process_that_keeps_falling_waits_longer_each_time(tmp_path: Path) -> None:
    log_file = tmp_path / "falls"
    falling = child(
        "infer",
        f"""
        import time
        with open({str(log_file)!r}, "a") as file:
            file.write(str(time.monotonic()) + "\\n")
        raise SystemExit(1)
        """,
    )
    growing = RetryPolicy(
        attempts=100,
        first_delay=timedelta(milliseconds=100),
        factor=4,
        longest_delay=timedelta(seconds=5),
    )
    stop = threading.Event()
    thread, _ = running(Supervisor([falling], restarts=growing), stop)

    until(lambda: log_file.exists() and len(log_file.read_text().splitlines()) == 3)

    stop.set()
    thread.join(timeout=20)
    first, second, third = (float(line) for line in log_file.read_text().splitlines())
    assert second - first >= 0.1
    assert third - second >= 0.4


def test_a_child_stops_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    watching = f"""
import os, threading
from worker.operations.stopping import stop_with_parent
stop = threading.Event()
stop_with_parent(stop)
os.mkdir({str(tmp_path / "alive")!r})
stop.wait()
os.mkdir({str(tmp_path / "ended")!r})
"""
    program = f"""
import sys, threading
from worker.operations.supervisor import ProcessSpec, Supervisor
spec = ProcessSpec(name="listen", command=(sys.executable, "-c", {watching!r}))
Supervisor([spec]).run(threading.Event())
"""
    parent = subprocess.Popen([sys.executable, "-c", program])
    until((tmp_path / "alive").exists)

    parent.kill()
    parent.wait()

    until((tmp_path / "ended").exists)


def test_a_hangup_in_the_first_moment_of_a_process_waits_until_it_can_answer(
    tmp_path: Path,
) -> None:
    young = child(
        "listen",
        f"""
        import os, signal, threading, time
        folder, stop = {str(tmp_path)!r}, threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        os.mkdir(folder + "/born")
        while not os.path.exists(folder + "/told"):
            time.sleep(0.01)
        signal.signal(signal.SIGHUP, lambda *_: os.mkdir(folder + "/answered"))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {{signal.SIGHUP}})
        stop.wait()
        """,
    )
    stop = threading.Event()
    supervisor = Supervisor([young], restarts=AT_ONCE)
    thread, codes = running(supervisor, stop)
    until((tmp_path / "born").exists)

    supervisor.pass_on(signal.SIGHUP)
    (tmp_path / "told").mkdir()

    until((tmp_path / "answered").exists)
    stop.set()
    thread.join(timeout=20)
    assert codes == [0]


def test_who_ends_without_being_asked_is_named_and_who_is_asked_is_not(tmp_path: Path) -> None:
    stop = threading.Event()
    fallen: list[tuple[str, int, int]] = []
    supervisor = Supervisor(
        [obedient("listen", tmp_path), obedient("infer", tmp_path)],
        restarts=AT_ONCE,
        on_fall=lambda name, pid, exit_code: fallen.append((name, pid, exit_code)),
    )
    thread, _ = running(supervisor, stop)
    until(lambda: len(pids(tmp_path, "listen")) == len(pids(tmp_path, "infer")) == 1)
    (killed,) = pids(tmp_path, "infer")

    os.kill(killed, signal.SIGKILL)
    until(lambda: len(pids(tmp_path, "infer")) == 2)
    stop.set()
    thread.join(timeout=20)

    assert fallen == [("infer", killed, -signal.SIGKILL)]
