"""A back-up is put back while four senders send: what came after it is read and delivered again.

As an operator does it: `db backup`, later `db restore` and the anchor moved away. The schedule is
then ended once, because at its start it looks for files without a row, and else every ten minutes.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine

from schemas.inquiries import EventFilter
from tests.campaigns.faults import invariants
from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.campaigns.faults.house import House, house_with_orthanc
from tests.campaigns.faults.invariants import require
from tests.campaigns.faults.sending import Film, Image, Senders, Traffic
from tests.fakes import Clock
from tests.orthanc import Orthanc, wait_for
from worker.queue.audit import AuditTrail

IMAGES = 32
_FAILED = (AssertionError, OSError, pytest.fail.Exception)


def campaign(folder: Path, order: Order, *, tell: Callable[[str], None]) -> Findings:
    """Restore once in each run, at another moment of the traffic."""
    findings = Findings(campaign="restore", order=order)
    with house_with_orthanc(folder) as (house, pacs), house.engine() as engine:
        runs = Runs(house, pacs, engine, order=order)
        for number in order.numbers:
            runs.run_noted(number, findings)
            tell(f"run {number}: {len(findings.failures)} failed so far")
        findings.figures |= runs.figures()
        wait_for((house.root / "audit.anchor").exists)  # the schedule makes a new one in its time
        invariants.require_sealed_trail(house)
        require(house.stop() == 0, "no clean stop")
    return findings


class Runs:
    """What the runs in one house share."""

    def __init__(self, house: House, pacs: Orthanc, engine: Engine, *, order: Order) -> None:
        self._house = house
        self._pacs = pacs
        self._engine = engine
        self._order = order
        self._film = Film(seed=order.seed)
        self._acknowledged = 0
        self._recovered = 0
        self._restores: list[float] = []  #: seconds of the command
        self._ends: list[float] = []  #: seconds from there until every image was delivered

    def run_noted(self, number: int, findings: Findings) -> None:
        try:
            self._run(number)
        except _FAILED as error:
            findings.fail(run=number, what="restore", found=str(error))

    def _run(self, number: int) -> None:
        chance = Random(self._order.chance(number))  # noqa: S311 - no secret
        images = self._film.images(number, IMAGES)
        before = chance.randint(1, IMAGES // 2)
        traffic, senders = Traffic(), Senders(self._house.port)
        senders.send(images[:before], traffic)
        since, backup = datetime.now(tz=UTC), self._backup()
        others = threading.Thread(target=senders.send, args=(images[before:], traffic))
        others.start()
        moment = chance.randint(before, IMAGES - 4)
        wait_for(lambda: len(traffic.acknowledged) >= moment)
        self._restore(backup)
        restored = time.monotonic()
        others.join()
        self._house.kill_process("schedule")
        wait_for(
            lambda: traffic.acknowledged <= invariants.with_job(self._engine, images),
            limit_seconds=120,
        )
        invariants.wait_until_terminal(self._engine, images)
        self._ends.append(time.monotonic() - restored)
        self._check(images, traffic)
        self._note_recovered(since)

    def _backup(self) -> str:
        ended = self._house.command("db", "backup")
        require(ended.returncode == 0, f"db backup: {ended.stderr}")
        return ended.stdout.partition("The back-up is ")[2].strip().removesuffix(".")

    def _restore(self, backup: str) -> None:
        began = time.monotonic()
        ended = self._house.command("db", "restore", backup, "--yes")
        self._restores.append(time.monotonic() - began)
        require(ended.returncode == 0, f"db restore: {ended.stderr}")
        anchor = self._house.root / "audit.anchor"
        anchor.rename(anchor.with_suffix(f".before-{len(self._restores)}"))

    def _check(self, images: list[Image], traffic: Traffic) -> None:
        jobs = invariants.require_one_job_each(self._engine, images, traffic)
        require(len(jobs) == IMAGES, f"{len(jobs)} jobs for {IMAGES} images")
        invariants.require_objects_once(self._engine, self._pacs, images, is_whole=True)
        invariants.require_chains(self._engine, jobs)
        invariants.require_no_halves(self._house, self._engine, images)
        self._pacs.empty()
        self._acknowledged += len(traffic.acknowledged)

    def _note_recovered(self, since: datetime) -> None:
        fits = EventFilter(event="spool_recovered", since=since)
        told = AuditTrail(self._engine, now=Clock()).list(fits)
        self._recovered += sum(int(one.detail["count"] or 0) for one in told)

    def figures(self) -> dict[str, Figure]:
        return {
            "images acknowledged": self._acknowledged,
            "images that the back-up did not know, read again": self._recovered,
            "longest db restore, s": max(self._restores, default=0.0),
            "longest until every image was delivered, s": max(self._ends, default=0.0),
        }
