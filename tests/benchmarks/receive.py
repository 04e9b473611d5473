"""Receiving: MB/s of ours beside Orthanc with fsync and beside storescp, by dcmtk's storescu.

The same 6 MB radiograph under new UIDs, 96 times for each number of senders. Ours counts only when
file and job are durable; Orthanc is told to sync its storage; storescp syncs nothing.
``TCP_NODELAY=1`` for all dcmtk (without it Nagle's algorithm is what one measures).
"""

import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from tests.benchmarks.figures import Aim, Figure
from tests.benchmarks.processes import Usage, usage
from tests.builders import hand_radiograph, write_file
from tests.orthanc import Orthanc, free_port, is_listening, loopback_shim, require_program, wait_for
from tests.system.running import RunningWorker

SENDERS = (1, 4, 8)
IMAGES = 96
ROWS, COLUMNS = 2000, 1500  #: of 16 bit: 6.0 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One server, one number of senders."""

    mb_per_second: float
    cpu_seconds_per_gb: float
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running receiver."""

    port: int
    ae_title: str
    usage: Callable[[], Usage]
    kept: Callable[[], int]  #: how many objects it holds


def measure(*, runs: int) -> list[Figure]:
    """Return the figures; medians over ``runs`` fresh servers of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "image.dcm"
        noise = np.random.default_rng(1).integers(0, 4096, (ROWS, COLUMNS), dtype=np.uint16)
        write_file(hand_radiograph(noise, BitsStored=12), source)
        rounds = {
            (name, senders): [_one(serve, source, senders=senders) for _ in range(runs)]
            for senders in SENDERS
            for name, serve in (("ours", _ours), ("orthanc", _orthanc), ("storescp", _storescp))
        }
    return [figure for senders in SENDERS for figure in _figures(rounds, senders)]


def _figures(rounds: dict[tuple[str, int], list[Round]], senders: int) -> Iterator[Figure]:
    def median(name: str, of: Callable[[Round], float]) -> float:
        return statistics.median(of(each) for each in rounds[name, senders])

    def speed(each: Round) -> float:
        return each.mb_per_second

    def cost(each: Round) -> float:
        return each.cpu_seconds_per_gb

    words = f"{senders} sender{'s' if senders > 1 else ''}"
    yield Figure(
        name=f"receive, {words}",
        value=median("ours", speed),
        unit="MB/s",
        peer="Orthanc, fsync",
        peer_value=median("orthanc", speed),
        aim=Aim(at_least=1.5),
    )
    yield Figure(
        name=f"receive, {words}, stretch",
        value=median("ours", speed),
        unit="MB/s",
        peer="storescp, default PDU, no fsync",
        peer_value=median("storescp", speed),
        aim=Aim(at_least=0.8) if senders > 1 else None,
    )
    yield Figure(
        name=f"processor time, {words}",
        value=median("ours", cost),
        unit="s/GB",
        peer="Orthanc, fsync",
        peer_value=median("orthanc", cost),
        aim=Aim(at_most=1.0),
    )
    yield Figure(
        name=f"memory of the listener, {words}",
        value=median("ours", lambda each: each.memory_mb),
        unit="MB",
        aim=Aim(at_most=150.0),
    )


def _one(serve: Callable[[Path], Iterator[Server]], source: Path, *, senders: int) -> Round:
    with tempfile.TemporaryDirectory() as folder, contextmanager(serve)(Path(folder)) as server:
        before, began = server.usage(), perf_counter()
        _send(source, server, senders=senders)
        seconds = perf_counter() - began
        after = server.usage()
        wait_for(lambda: server.kept() == IMAGES)  # nothing was lost, nothing came twice
    megabytes = IMAGES * source.stat().st_size / 1e6
    return Round(
        mb_per_second=megabytes / seconds,
        cpu_seconds_per_gb=(after.cpu_seconds - before.cpu_seconds) / megabytes * 1000,
        memory_mb=after.memory_mb,
    )


def _send(source: Path, server: Server, *, senders: int) -> None:
    each = IMAGES // senders
    command: Sequence[str] = (
        *(require_program("storescu"), "--repeat", str(each), "+II", "-xe"),
        *("-aet", "SENDER", "-aec", server.ae_title, "127.0.0.1", str(server.port), str(source)),
    )
    environment = {**os.environ, "TCP_NODELAY": "1"}
    running = [
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        )
        for _ in range(senders)
    ]
    for process in running:
        _, said = process.communicate(timeout=600)
        if process.returncode:
            raise RuntimeError(f"storescu failed: {said.decode(errors='replace')[-300:]}")


def _ours(folder: Path) -> Iterator[Server]:
    worker = RunningWorker(folder / "worker", pacs_ae="SENDER", pacs_port=free_port())
    with worker:
        worker.start("listen")
        yield Server(
            port=worker.port,
            ae_title="BONEAGE",
            usage=lambda: usage(worker.pid),
            kept=lambda: len(worker.jobs()),
        )
        worker.stop()


def _orthanc(folder: Path) -> Iterator[Server]:
    with Orthanc(folder / "orthanc", settings={"SyncStorageArea": True}) as pacs:
        yield Server(
            port=pacs.port,
            ae_title=pacs.ae_title,
            usage=lambda: usage(pacs.pid),
            kept=pacs.count,
        )


def _storescp(folder: Path) -> Iterator[Server]:
    kept, port = folder / "kept", free_port()
    kept.mkdir()
    process = subprocess.Popen(
        [
            *(require_program("storescp"), "--fork", "-aet", "STORESCP"),
            *("-od", str(kept), "+uf", str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_on_loopback(folder),
    )
    try:
        wait_for(lambda: is_listening(port))
        yield Server(
            port=port,
            ae_title="STORESCP",
            usage=lambda: usage(process.pid),
            kept=lambda: len(list(kept.iterdir())),
        )
    finally:
        process.terminate()
        process.wait()


def _on_loopback(folder: Path) -> dict[str, str]:
    """Return an environment in which dcmtk listens on the loopback alone."""
    shim = loopback_shim(folder)
    return {**os.environ, "TCP_NODELAY": "1"} | ({"LD_PRELOAD": str(shim)} if shim else {})
