"""A small disk that fills up under spool, results and database, and is freed again.

In odd runs it fills to the high mark, in even ones to the last byte. Meanwhile senders are told
0xA700 and nothing else; when there is room again, everything goes on without a hand.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine

from tests.campaigns.faults import invariants
from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.campaigns.faults.house import House, Site, house_with_orthanc
from tests.campaigns.faults.invariants import require
from tests.campaigns.faults.sending import SUCCESS, Film, Image, Senders, Traffic
from tests.orthanc import Orthanc, wait_for

OUT_OF_RESOURCES = 0xA700
IMAGES = 24
MEGABYTES = 512
_FULL_SECONDS = 2.0  # how long it stays full after the first refusal
_FAILED = (AssertionError, OSError, pytest.fail.Exception)
_BLOCK = 1 << 20
MARKS = ("to the high mark", "to the last byte")


@contextmanager
def small_disk(folder: Path, *, megabytes: int = MEGABYTES) -> Iterator[Path]:
    """Mount a file system of this size; skip where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("a small file system has to be mounted: run it as root")
    folder.mkdir(parents=True)
    options = ("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (mount -t tmpfs)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Ballast:
    """A file that takes the room."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._file = disk / "ballast"

    def fill(self, *, leave_bytes: int) -> None:
        """Leave so much room and no more, whoever else is writing."""
        with self._file.open("ab", buffering=0) as file:
            while (room := self._room() - leave_bytes) > 0:
                try:
                    file.write(bytes(min(room, _BLOCK)))
                except OSError:  # somebody else was faster
                    return

    def free(self) -> None:
        self._file.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        usage = os.statvfs(self._disk)
        return usage.f_blocks * usage.f_frsize

    def _room(self) -> int:
        usage = os.statvfs(self._disk)
        return usage.f_bavail * usage.f_frsize


def campaign(folder: Path, order: Order, *, tell: Callable[[str], None]) -> Findings:
    """Fill and free the disk once in each run."""
    findings = Findings(campaign="disk", order=order)
    all_numbers = list(order.numbers)
    for mark, high_mark in zip(MARKS, (90, 100), strict=True):
        numbers = [each for each in all_numbers if MARKS[(each - 1) % 2] == mark]
        if not numbers:
            continue
        with ExitStack() as stack:
            place = folder / mark.replace(" ", "-")
            disk = stack.enter_context(small_disk(place / "disk"))
            low = f"low_mark_percent = {high_mark - 5}"
            settings = {"storage": f"high_mark_percent = {high_mark}\n{low}"}
            house, pacs = stack.enter_context(
                house_with_orthanc(place, Site(root=disk / "storage", settings=settings))
            )
            engine = stack.enter_context(house.engine())
            leaves = 0.08 if high_mark == 90 else 0.0
            runs = Runs(house, pacs, engine, Ballast(disk), order=order, leaves=leaves)
            for number in numbers:
                runs.run_noted(number, mark, findings)
                tell(f"run {number}: {mark}: {len(findings.failures)} failed so far")
            findings.rows.append(runs.row(mark, numbers, findings))
            invariants.require_sealed_trail(house)
            require(house.stop() == 0, "no clean stop")
    return findings


class Runs:
    """What the runs on one disk share."""

    def __init__(
        self,
        house: House,
        pacs: Orthanc,
        engine: Engine,
        ballast: Ballast,
        *,
        order: Order,
        leaves: float,
    ) -> None:
        self._house = house
        self._pacs = pacs
        self._engine = engine
        self._ballast = ballast
        self._order = order
        self._leaves = leaves  #: share of the disk that stays free at its fullest
        self._film = Film(seed=order.seed)
        self._refused = 0
        self._taken = 0
        self._longest = 0.0

    def run_noted(self, number: int, mark: str, findings: Findings) -> None:
        try:
            self._run(number)
        except _FAILED as error:
            findings.fail(run=number, what=mark, found=str(error))
        finally:
            self._ballast.free()

    def _run(self, number: int) -> None:
        chance = Random(self._order.chance(number))  # noqa: S311 - no secret
        images = self._film.images(number, IMAGES)
        first = chance.randint(2, IMAGES // 2)
        leave = int(self._leaves * self._ballast.size) or chance.randint(0, 400_000)
        traffic, over = Traffic(), threading.Event()
        senders = Senders(self._house.port, over=over)
        senders.send(images[:first], traffic)
        self._ballast.fill(leave_bytes=leave)  # while the first are read and delivered
        others = threading.Thread(target=senders.send, args=(images[first:], traffic))
        others.start()
        try:
            wait_for(lambda: traffic.count(OUT_OF_RESOURCES) > 0)
            over.wait(_FULL_SECONDS)
            self._ballast.fill(leave_bytes=leave)
            over.wait(_FULL_SECONDS)
            self._ballast.free()
            freed = time.monotonic()
            others.join(60)
            require(not others.is_alive(), "a sender was not content after there was room")
        finally:
            over.set()
            others.join()
        invariants.wait_until_terminal(self._engine, images)
        self._longest = max(self._longest, time.monotonic() - freed)
        self._check(images, traffic)

    def _check(self, images: list[Image], traffic: Traffic) -> None:
        told = {status for each in traffic.statuses.values() for status in each}
        require(told == {SUCCESS, OUT_OF_RESOURCES}, f"senders were told {told}")
        jobs = invariants.require_one_job_each(self._engine, images, traffic)
        require(len(jobs) == IMAGES, f"{len(jobs)} jobs for {IMAGES} images")
        invariants.require_objects_once(self._engine, self._pacs, images, is_whole=True)
        invariants.require_chains(self._engine, jobs)
        invariants.require_no_halves(self._house, self._engine, images)
        self._pacs.empty()
        self._refused += traffic.count(OUT_OF_RESOURCES)
        self._taken += len(traffic.acknowledged)

    def row(self, mark: str, numbers: list[int], findings: Findings) -> dict[str, Figure]:
        return {
            "the disk was full": mark,
            "runs": len(numbers),
            "failed": sum(each.what == mark for each in findings.failures),
            "images taken": self._taken,
            "0xA700": self._refused,
            "processes that fell": self._house.falls(),
            "longest from room to all delivered, s": self._longest,
        }
