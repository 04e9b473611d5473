import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.orthanc import wait_for
from tests.worker.http.conftest import CANARY, TOKEN, Room
from worker.http.application import build_application
from worker.http.errors import PortTakenError
from worker.http.server import HttpServer

SETTINGS = """\
[storage]
root = "."
# other programs may have filled this disk: no matter here
high_mark_percent = 100
low_mark_percent = 99
[http]
enabled = true
port = {port}
token_file = "token"
[log]
level = "debug"
"""
#: says at the end which libraries the process has loaded
PROGRAM = """\
import atexit, sys
atexit.register(lambda: open("modules", "w").write("\\n".join(sys.modules)))
from worker.cli import main
main()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.ConnectError:
        return False


def test_a_port_that_is_taken_is_an_error_that_waiting_may_help() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port}"):
            HttpServer(build_application([]), host="127.0.0.1", port=port).start()


def test_a_port_is_free_again_after_the_end() -> None:
    server = HttpServer(build_application([]), host="127.0.0.1", port=0)
    server.start()
    server.stop()

    socket.create_server(("127.0.0.1", server.port)).close()


@pytest.mark.slow
def test_the_process_serves_without_torch_logs_no_request_and_ends_at_once(room: Room) -> None:
    room.fill()
    port, folder = free_port(), room.root
    (folder / "config.toml").write_text(SETTINGS.format(port=port))
    log_file: Path = folder / "log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "serve", "--only", "http", "--config", "config.toml"],
            cwd=folder,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        )
    try:
        url, token = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=token) as client:
            wait_for(lambda: answers(client), limit_seconds=60)
            paths = ("/livez", "/readyz", "/metrics", "/status", f"/jobs?study={CANARY}")
            statuses = [client.get(path).status_code for path in paths]
    finally:
        process.send_signal(signal.SIGTERM)
        exit_code = process.wait(timeout=30)

    assert statuses == [200] * 5
    assert exit_code == 0
    assert CANARY.partition("^")[0] not in log_file.read_text()
    assert "http.listening" in log_file.read_text()
    assert "torch" not in (folder / "modules").read_text().split()
