"""Clocks that disagree, step back, or keep summer time: no lease is lost early, no job is stuck.

Three hosts ten minutes apart share one PostgreSQL, one of them dies; one host with SQLite has
its clock set back by an hour while images are read, sent and lost; one sees the end of summer
time, with every process in that zone.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.tables import Job, JobEventRow
from tests.campaigns.faults import hosts, invariants
from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.campaigns.faults.house import House, Site, house_with_orthanc
from tests.campaigns.faults.invariants import require
from tests.campaigns.faults.launch import Plan, set_clock
from tests.campaigns.faults.sending import Film, Image, Senders, Traffic
from tests.orthanc import Orthanc, wait_for
from worker.queue.database import reading

IMAGES = 16
APART = timedelta(minutes=10)
LEASE_SECONDS = 4
_FAILED = (AssertionError, OSError, pytest.fail.Exception)
#: lease, rescue and a new claim on a busy machine; far from the ten minutes and the hour
STUCK_SECONDS = 60.0
#: 03:00 becomes 02:00 in Berlin at this moment (EU directive 2000/84/EC: last Sunday of October)
_END_OF_SUMMER_TIME = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)
_BEFORE = timedelta(seconds=3)


def ten_minutes_apart(folder: Path, film: Film, number: int) -> dict[str, Figure]:
    """Three hosts on PostgreSQL: ten minutes fast, right, ten minutes slow; one dies."""
    images = film.images(number, IMAGES)
    with hosts.cluster(folder, ahead=(APART, timedelta(), -APART)) as running:
        Senders(running.house.port).send(images)
        lay = hosts.kill_one_reader(running, images)
        hosts.require_finished_once(running, images, rescued=1)
        require(LEASE_SECONDS / 2 < lay < STUCK_SECONDS, f"the job of the dead lay for {lay:.1f} s")
        uids = [image.sop_instance_uid for image in images]
        hosts_that_read = running.hosts_that_read(uids)
    return {"until all was well, s": lay, "note": f"{hosts_that_read} hosts read"}


def set_back_by_an_hour(folder: Path, film: Film, number: int) -> dict[str, Figure]:
    """One host with SQLite, set back while a reader is dead and others are at work."""
    images = film.images(number, IMAGES)
    plan = Plan(lease_seconds=LEASE_SECONDS, estimate_seconds=0.3)
    with house_with_orthanc(folder, Site(plan=plan)) as (house, pacs), house.engine() as engine:
        Senders(house.port).send(images)
        wait_for(lambda: count(engine, images, "claimed") >= 2)
        house.kill_process("infer")  # holds a lease that ends an hour later by the new clock
        set_clock(house.folder, ahead=-timedelta(hours=1))
        began = time.monotonic()
        late = film.images(1000 + number, 4)
        Senders(house.port).send(late)  # received before those that came before them
        invariants.wait_until_terminal(engine, [*images, *late], limit_seconds=STUCK_SECONDS)
        lasted = time.monotonic() - began
        require_well(house, engine, pacs, [*images, *late])
        rescued = count(engine, images, "rescued")
        require(rescued <= 1, f"{rescued} leases were lost, one reader died")
    return {"until all was well, s": lasted, "note": f"{rescued} rescued, 1 killed"}


def end_of_summer_time(folder: Path, film: Film, number: int) -> dict[str, Figure]:
    """One host in Berlin, from a moment before 03:00 becomes 02:00, one reader dies."""
    images = film.images(number, IMAGES)
    zone = Plan(lease_seconds=LEASE_SECONDS, estimate_seconds=0.3, timezone="Europe/Berlin")
    ahead = _END_OF_SUMMER_TIME - datetime.now(UTC)
    site = Site(plan=zone, ahead=ahead)
    with house_with_orthanc(folder, site) as (house, pacs), house.engine() as engine:
        set_clock(house.folder, ahead=_END_OF_SUMMER_TIME - _BEFORE - datetime.now(UTC))
        Senders(house.port).send(images)
        wait_for(lambda: count(engine, images, "claimed") >= 2)
        house.kill_process("infer")
        began = time.monotonic()
        invariants.wait_until_terminal(engine, images, limit_seconds=STUCK_SECONDS)
        lasted = time.monotonic() - began
        require_well(house, engine, pacs, images)
        rescued = count(engine, images, "rescued")
        require(rescued <= 1, f"{rescued} leases were lost, one reader died")
        offsets = {each.utcoffset() for each in local_times(engine, images)}
        require(len(offsets) == 2, "summer time ended before or after the run")
    return {
        "until all was well, s": lasted,
        "note": f"{rescued} rescued, {len(offsets)} offsets from UTC",
    }


def local_times(engine: Engine, images: list[Image]) -> list[datetime]:
    """Return when things happened, as a clock on the wall in Berlin had it."""
    return [at.astimezone(ZoneInfo("Europe/Berlin")) for _, at in _events(engine, images)]


def count(engine: Engine, images: list[Image], event: str) -> int:
    """Return how often something happened to these images."""
    return [name for name, _ in _events(engine, images)].count(event)


def _events(engine: Engine, images: list[Image]) -> list[tuple[str, datetime]]:
    uids = [image.sop_instance_uid for image in images]
    jobs = sa.select(Job.id).where(Job.sop_instance_uid.in_(uids))
    found = sa.select(JobEventRow.event, JobEventRow.at).where(JobEventRow.job_id.in_(jobs))
    with reading(engine) as session:
        return [(name, at) for name, at in session.execute(found)]


def require_well(house: House, engine: Engine, pacs: Orthanc, images: list[Image]) -> None:
    sent = Traffic(statuses={image.sop_instance_uid: [0] for image in images})
    jobs = invariants.require_one_job_each(engine, images, sent)
    invariants.require_objects_once(engine, pacs, images, is_whole=True)
    invariants.require_chains(engine, jobs)
    invariants.require_no_halves(house, engine, images)
    invariants.require_sealed_trail(house)


SCENES: dict[str, Callable[[Path, Film, int], dict[str, Figure]]] = {
    "three hosts ten minutes apart": ten_minutes_apart,
    "set back by an hour": set_back_by_an_hour,
    "the end of summer time": end_of_summer_time,
}


def campaign(
    folder: Path, order: Order, *, tell: Callable[[str], None], scenes: Sequence[str] = ()
) -> Findings:
    """Play the scenes in turn, one in each run, each with an installation of its own."""
    findings = Findings(campaign="clocks", order=order)
    names = scenes or tuple(SCENES)
    film = Film(seed=order.seed, rows=64, columns=64)
    for number in order.numbers:
        name = names[(number - 1) % len(names)]
        try:
            found = SCENES[name](folder / str(number), film, number)
            findings.rows.append({"run": number, "clocks": name, **found})
        except _FAILED as error:
            findings.fail(run=number, what=name, found=str(error))
        tell(f"run {number}: {name}: {len(findings.failures)} failed so far")
    findings.figures["lease, s"] = LEASE_SECONDS
    return findings
