"""Several `infer` on one PostgreSQL beside one alone: the real program with the real networks.

    python -m tests.campaigns.readers [--images 48] [--processes 1 3] [--at-once 1] [--json FILE]

Each process is `boneage serve --only infer` with one thread of the processor, as on a host of its
own; the images are sixteen real radiographs in nine transfer syntaxes, each again and again, with
UIDs of their own. Time runs from the first claim to the last settlement, by the clock of the
database: page, report content and files are in it, receiving and delivering are not. What must be
true is checked: each job is settled once, and every process had its share. The processes share the
cores of this machine with PostgreSQL, so more of them than cores cannot be faster.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from schemas.jobs import Arrival, JobState
from schemas.tables import JobEventRow
from tests.orthanc import wait_for
from tests.system.radiographs import write_radiographs
from tests.system.running import ROOT
from tests.worker.queue.postgresql import running_server
from worker.app import databases, queues, releases
from worker.operations.configuration import load_config
from worker.queue.database import reading, upgrade

LIMIT_SECONDS = 900.0
_STOP_SECONDS = 60.0
_SETTINGS = """\
[[peer]]
name = "pacs"
ae_title = "PACS"

[storage]
root = "storage"
# other programs may have filled this disk: no matter here
high_mark_percent = 100
low_mark_percent = 99

[database]
url = "{url}"

[inference]
devices = ["cpu"]
threads = 1
images_at_once = {at_once}

[schedule]
constancy_hours = 0
"""
_UID = "1.2.826.0.1.3680043.10.1099.7"


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What so many processes did."""

    processes: int
    at_once: int  #: images in hand of each
    images: int
    seconds: float
    images_a_second: float
    cpu_seconds_an_image: float  #: of the processes, without PostgreSQL
    shares: tuple[int, ...]  #: images that each process read, most first
    refused: int


class Reader:
    """One process of `infer`."""

    def __init__(self, settings: Path, number: int) -> None:
        self._log = settings.with_name(f"infer-{number}.log")
        command = [sys.executable, "-m", "worker", "serve", "--only", "infer"]
        environment = {name: value for name, value in os.environ.items() if "__" not in name}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--config", str(settings)],
                stdout=log,
                stderr=log,
                env=environment | {"PYTHONPATH": str(ROOT)},
            )

    @property
    def is_ready(self) -> bool:
        text = self._log.read_text(errors="replace")
        assert self._process.poll() is None, text[-3000:]
        return "inference.ready" in text

    @property
    def cpu_seconds(self) -> float:
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        self._process.terminate()
        try:
            code = self._process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        assert code == 0, f"exit code {code}: {self._log.read_text(errors='replace')[-3000:]}"


def measure(
    folder: Path, url: str, images: Sequence[Dataset], *, processes: int, at_once: int = 1
) -> Rate:
    """Let so many processes, each with so many in hand, read these images; say how fast they were.

    Raises:
        AssertionError: a job was not settled once, or a process read nothing.
    """
    settings = folder / "config.toml"
    settings.write_text(_SETTINGS.format(url=url, at_once=at_once))
    with _running(settings, processes) as readers:
        before = sum(reader.cpu_seconds for reader in readers)
        _receive(settings, images)
        _await_all(settings, len(images))
        cpu_seconds = sum(reader.cpu_seconds for reader in readers) - before
    seconds, shares, refused = _story(settings, len(images))
    assert len(shares) == processes, f"{len(shares)} of {processes} processes read: {shares}"
    return Rate(
        processes=processes,
        at_once=at_once,
        images=len(images),
        seconds=seconds,
        images_a_second=len(images) / seconds,
        cpu_seconds_an_image=cpu_seconds / len(images),
        shares=shares,
        refused=refused,
    )


@contextmanager
def cluster_database() -> Iterator[str]:
    """The URL of an empty database of our schema on a PostgreSQL that syncs as in service."""
    with running_server(is_durable=True) as server, server.other_database() as url:
        yield url


@contextmanager
def _running(settings: Path, processes: int) -> Iterator[list[Reader]]:
    config = load_config(settings, environment={})
    engine = databases.unchecked_engine(config)
    upgrade(engine, backup_folder=None)
    engine.dispose()
    with ExitStack() as stack:
        readers = []
        for number in range(processes):
            readers.append(Reader(settings, number))
            stack.callback(readers[-1].stop)
        wait_for(lambda: all(one.is_ready for one in readers), limit_seconds=LIMIT_SECONDS)
        yield readers


def _receive(settings: Path, images: Sequence[Dataset]) -> None:
    """Put every image into the spool, and then all of them into the queue."""
    config = load_config(settings, environment={})
    arrivals = []
    for number, image in enumerate(images, start=1):
        path = config.storage.root / "spool" / "aa" / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save_as(path, enforce_file_format=True)
        arrivals.append(
            Arrival(
                sop_instance_uid=str(image.SOPInstanceUID),
                sop_class_uid=str(image.SOPClassUID),
                study_instance_uid=str(image.StudyInstanceUID),
                transfer_syntax_uid=str(image.file_meta.TransferSyntaxUID),
                digest=f"{number:064d}",
                size_bytes=path.stat().st_size,
                spool_file=str(path.relative_to(config.storage.root)),
                calling_ae="PACS",
                called_ae="BONEAGE",
                peer_address="127.0.0.1",
            )
        )
    engine = databases.engine(config)
    release = releases.release(config).name
    queue = queues.queue_on(config, engine, actor="listen", release=release)
    for one in arrivals:
        queue.receive(one)
    engine.dispose()


def _await_all(settings: Path, count: int) -> None:
    config = load_config(settings, environment={})
    engine = databases.engine(config)
    queue = queues.queue_on(config, engine, actor="campaign", release="")
    on_its_way = (JobState.QUEUED, JobState.RUNNING)
    wait_for(
        lambda: sum(queue.counts()[state] for state in on_its_way) == 0,
        limit_seconds=LIMIT_SECONDS,
    )
    found = queue.counts()
    engine.dispose()
    assert found[JobState.DELIVERING] == count, f"not every image has a result: {found}"


def _story(settings: Path, count: int) -> tuple[float, tuple[int, ...], int]:
    """Return the seconds from the first claim to the last settlement, each share, refusals."""
    engine = databases.engine(load_config(settings, environment={}))
    with reading(engine) as session:
        rows = session.execute(
            sa.select(JobEventRow.event, JobEventRow.at, JobEventRow.actor, JobEventRow.reason)
            .where(JobEventRow.event.in_(("claimed", "settled")))
            .order_by(JobEventRow.id)
        ).all()
    engine.dispose()
    settled = [row for row in rows if row.event == "settled"]
    assert len(settled) == count == len(rows) - count, f"{len(rows)} claims and settlements"
    shares = Counter(row.actor for row in settled)
    seconds = (max(row.at for row in settled) - min(row.at for row in rows)).total_seconds()
    refused = sum(row.reason != "estimated" for row in settled)
    return seconds, tuple(sorted(shares.values(), reverse=True)), refused


def radiographs(folder: Path, count: int) -> list[Dataset]:
    """Return so many real radiographs, again and again the same ones, each with its own UID."""
    files = write_radiographs(folder)
    found: list[Dataset] = []
    for number in range(count):
        dataset = dcmread(files[number % len(files)].path)
        uid = UID(f"{_UID}.{number + 1}")
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        found.append(dataset)
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.readers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 3])
    parser.add_argument(
        "--at-once", type=int, nargs="+", default=[1], help="images in hand of each"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    rates = []
    try:
        for processes, at_once in product(given.processes, given.at_once):
            with tempfile.TemporaryDirectory() as name, cluster_database() as url:
                images = radiographs(Path(name) / "files", given.images)
                folder = Path(name)
                rates.append(measure(folder, url, images, processes=processes, at_once=at_once))
            sys.stdout.write(f"{_line(rates[-1], rates[0])}\n")
            sys.stdout.flush()
    except pytest.skip.Exception as reason:
        sys.exit(f"Not measured: {reason}")
    if given.json is not None:
        machine = {"cores": os.cpu_count(), "processor": platform.processor()}
        record = {"machine": machine, "rates": [asdict(rate) for rate in rates]}
        given.json.write_text(json.dumps(record, indent=1) + "\n")


def _line(rate: Rate, first: Rate) -> str:
    faster = rate.images_a_second / first.images_a_second
    return (
        f"{rate.processes} infer, {rate.at_once} in hand: {rate.images} images in "
        f"{rate.seconds:.1f} s, {rate.images_a_second:.2f} images/s ({faster:.2f} times the "
        f"first), {rate.cpu_seconds_an_image:.2f} s of a core for an image, "
        f"shares {', '.join(map(str, rate.shares))}, {rate.refused} refused"
    )


if __name__ == "__main__":
    main()
