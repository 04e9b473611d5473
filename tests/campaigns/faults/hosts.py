"""Two hosts' worth: three `infer` on one PostgreSQL, one of them killed while it reads.

Each host may have a clock of its own; the campaign about clocks uses the same cluster.
"""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.jobs import JobState
from schemas.tables import Job, JobEventRow
from tests.campaigns.faults import invariants
from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.campaigns.faults.house import House, Site, house_with_orthanc
from tests.campaigns.faults.invariants import require
from tests.campaigns.faults.launch import Plan, set_clock
from tests.campaigns.faults.sending import Film, Image, Senders, Traffic
from tests.orthanc import Orthanc, wait_for
from tests.worker.queue.postgresql import running_server
from worker.queue.database import reading

IMAGES = 16
HOSTS = 3
LEASE_SECONDS = 4
#: the tests of the queue move the clock of their server; ours is PostgreSQL's own
_TRUE_CLOCK = "&options=-csearch_path%3Dpublic"
_FAILED = (AssertionError, OSError, pytest.fail.Exception)


class Reader:
    """One `infer` of its own host: without a supervisor, it stays dead until it is started."""

    def __init__(self, house: House, folder: Path, *, ahead: timedelta, plan: Plan) -> None:
        plan.write(folder)
        set_clock(folder, ahead=ahead)
        self._house = house
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._house.launching(self._folder, "--only", "infer"), stdout=log, stderr=log
            )

    @property
    def is_ready(self) -> bool:
        return "inference.ready" in (self._folder / "worker.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Three hosts that read, one that receives, delivers and keeps house, one PostgreSQL."""

    house: House
    pacs: Orthanc
    engine: Engine
    readers: Sequence[Reader]

    def reader_of_a_running_job(self, uids: Sequence[str]) -> tuple[int, Reader] | None:
        """Return a job that is being read now, and by whom."""
        with reading(self.engine) as session:
            found = session.execute(
                sa.select(Job.id, JobEventRow.actor)
                .join(JobEventRow, JobEventRow.job_id == Job.id)
                .where(
                    Job.state == JobState.RUNNING,
                    Job.sop_instance_uid.in_(uids),
                    JobEventRow.event == "claimed",
                )
                .order_by(JobEventRow.id.desc())
            ).first()
        if found is None:
            return None
        pid = int(found.actor.rpartition(":")[2])
        return next(((found.id, each) for each in self.readers if each.pid == pid), None)

    def events(self, uids: Sequence[str]) -> Counter[str]:
        with reading(self.engine) as session:
            found = session.scalars(
                sa.select(JobEventRow.event)
                .join(Job, Job.id == JobEventRow.job_id)
                .where(Job.sop_instance_uid.in_(uids))
            )
            return Counter(found)

    def hosts_that_read(self, uids: Sequence[str]) -> int:
        with reading(self.engine) as session:
            actors = (
                sa.select(JobEventRow.actor)
                .join(Job, Job.id == JobEventRow.job_id)
                .where(Job.sop_instance_uid.in_(uids), JobEventRow.event == "settled")
            )
            return len(set(session.scalars(actors)))


@contextmanager
def cluster(
    folder: Path, *, ahead: Sequence[timedelta] = (timedelta(),) * HOSTS, plan: Plan | None = None
) -> Iterator[Cluster]:
    """Start everything; each host that reads is ``ahead`` of the truth, the other behind it."""
    plan = plan or Plan(lease_seconds=LEASE_SECONDS, estimate_seconds=0.3)
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        url = f"{server.url}{_TRUE_CLOCK}"
        house, pacs = stack.enter_context(
            house_with_orthanc(
                folder,
                Site(
                    plan=plan,
                    settings={"database": url},
                    only=("listen", "deliver", "schedule"),
                    ahead=-ahead[0],
                ),
            )
        )
        engine = stack.enter_context(house.engine())
        readers = [
            Reader(house, folder / f"host{number}", ahead=each, plan=plan)
            for number, each in enumerate(ahead)
        ]
        for each in readers:
            stack.callback(each.kill)
            each.start()
        wait_for(lambda: all(each.is_ready for each in readers), limit_seconds=120)
        yield Cluster(house=house, pacs=pacs, engine=engine, readers=readers)


def kill_one_reader(running: Cluster, images: Sequence[Image]) -> float:
    """Kill one host's `infer` while it reads; return how long its job lay there."""
    uids = [image.sop_instance_uid for image in images]
    found: list[tuple[int, Reader]] = []

    def is_caught() -> bool:
        busy = running.reader_of_a_running_job(uids)
        if busy is None:
            return False
        job_id, reader = busy
        os.kill(reader.pid, signal.SIGSTOP)  # the job is its own, or it was not in time
        if running.reader_of_a_running_job(uids) != busy:
            os.kill(reader.pid, signal.SIGCONT)
            return False
        reader.kill()
        found.append((job_id, reader))
        return True

    wait_for(is_caught)
    died = time.monotonic()
    job_id, reader = found[0]

    def is_read_again() -> bool:
        with reading(running.engine) as session:
            state = session.scalar(sa.select(Job.state).where(Job.id == job_id))
        return state is not JobState.RUNNING

    wait_for(is_read_again, limit_seconds=60)
    lay = time.monotonic() - died
    invariants.wait_until_terminal(running.engine, images)
    reader.start()
    return lay


def require_finished_once(running: Cluster, images: Sequence[Image], *, rescued: int) -> None:
    """Every job was settled once; no lease was lost but those of the dead."""
    uids = [image.sop_instance_uid for image in images]
    events = running.events(uids)
    require(events["settled"] == len(images), f"{events['settled']} results")
    require(events["rescued"] == rescued, f"{events['rescued']} rescued, {rescued} died")
    require(events["claimed"] == len(images) + rescued, f"{events['claimed']} claims")
    sent = Traffic(statuses={uid: [0] for uid in uids})
    jobs = invariants.require_one_job_each(running.engine, images, sent)
    require(len(jobs) == len(images), f"{len(jobs)} jobs for {len(images)} images")
    invariants.require_objects_once(running.engine, running.pacs, images, is_whole=True)
    invariants.require_chains(running.engine, jobs)
    running.pacs.empty()


def campaign(folder: Path, order: Order, *, tell: Callable[[str], None]) -> Findings:
    """Kill one of three readers in each run."""
    findings = Findings(campaign="hosts", order=order)
    film = Film(seed=order.seed, rows=64, columns=64)
    with cluster(folder) as running:
        for number in order.numbers:
            began = time.monotonic()
            images = film.images(number, IMAGES, chance=None)
            Random(order.chance(number)).shuffle(images)  # noqa: S311 - no secret
            row: dict[str, Figure] = {"run": number, "jobs": len(images)}
            try:
                Senders(running.house.port).send(images)
                row["job of the dead lay, s"] = kill_one_reader(running, images)
                require_finished_once(running, images, rescued=1)
                uids = [image.sop_instance_uid for image in images]
                row["hosts that read"] = running.hosts_that_read(uids)
                row["all delivered after, s"] = time.monotonic() - began
                findings.rows.append(row)
            except _FAILED as error:
                findings.fail(run=number, what="one of three killed", found=str(error))
            tell(f"run {number}: {len(findings.failures)} failed so far")
        findings.figures["lease, s"] = LEASE_SECONDS
        invariants.require_sealed_trail(running.house)
    return findings
