"""Soak: thousands of small images at full speed; nothing grows, nothing leaks.

Each process is looked at by `/proc` all the while: its memory in the last quarter of the run
against the first, its files, threads and connections at the end against those when it was warm.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import Engine

from tests.campaigns.faults import invariants
from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.campaigns.faults.house import House, Site, house_with_orthanc
from tests.campaigns.faults.invariants import require
from tests.campaigns.faults.launch import Plan
from tests.campaigns.faults.sending import Film, Senders, Traffic
from tests.orthanc import wait_for

#: of all images, by which everything has been loaded that ever is
WARM_SHARE = 0.1
#: what a process may have more in the last quarter than in the first: the noise of an allocator
MOST_GROWTH_BYTES = 24 * 1024 * 1024
MOST_GROWTH_SHARE = 0.1
#: an association or two that are just being opened, and their threads
MOST_MORE_THINGS = 4
_LOOK_SECONDS = 1.0
_AT_ONCE = 100  # images that are made before they are sent
_MOST_WAITING = 400  # of them, until more are sent: everybody has always work
_HOURS = 4 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Look:
    """One process at one moment."""

    done: int  #: images delivered by then
    pid: int
    resident_bytes: int
    threads: int
    files: int
    connections: int


def look_at(pid: int, *, done: int) -> Look | None:
    """Return what `/proc` says of a process; none: it has ended."""
    place = Path(f"/proc/{pid}")
    try:
        status = (place / "status").read_text(encoding="ascii")
        links = [link.readlink().name for link in (place / "fd").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    sockets = sum(name.startswith("socket:") for name in links)
    return Look(
        done=done,
        pid=pid,
        resident_bytes=int(fields["VmRSS"].split()[0]) * 1024,
        threads=int(fields["Threads"]),
        files=len(links) - sockets,
        connections=sockets,
    )


class Watch(threading.Thread):
    """Looks at every process until it is told to stop."""

    def __init__(self, house: House, engine: Engine, *, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.looks: dict[str, list[Look]] = defaultdict(list)
        self.over = threading.Event()
        self._house = house
        self._engine = engine
        self._tell = tell

    def run(self) -> None:
        told = 0
        while not self.over.wait(_LOOK_SECONDS):
            done = invariants.count_delivered(self._engine)
            for name, pid in self._house.pids.items():
                if (look := look_at(pid, done=done)) is not None:
                    self.looks[name].append(look)
            if done >= told + 100:
                told = done
                last = {name: looks[-1] for name, looks in self.looks.items()}
                held = ", ".join(f"{n} {look.resident_bytes >> 20}" for n, look in last.items())
                self._tell(f"{done} delivered; MiB: {held}")


def campaign(folder: Path, order: Order, *, tell: Callable[[str], None]) -> Findings:
    """Send ``order.runs`` images, one each."""
    findings = Findings(campaign="soak", order=order)
    site = Site(plan=Plan(is_warm=False, lease_seconds=60))
    film = Film(seed=order.seed, rows=64, columns=64)
    with house_with_orthanc(folder, site) as (house, pacs), house.engine() as engine:
        watch = Watch(house, engine, tell=tell)
        watch.start()
        began = time.monotonic()
        try:
            traffic = _send(house, engine, film, order)
            count = len(traffic.statuses)
            wait_for(lambda: invariants.count_delivered(engine) >= count, limit_seconds=_HOURS)
            lasted = time.monotonic() - began
            threading.Event().wait(5 * _LOOK_SECONDS)  # for associations to end in good manners
        finally:
            watch.over.set()
            watch.join()
        images = film.images(order.seed, count)
        jobs = invariants.require_one_job_each(engine, images, traffic)
        objects = invariants.require_objects_once(engine, pacs, images, is_whole=True)
        invariants.require_no_halves(house, engine, images)
        invariants.require_sealed_trail(house)
        falls = house.falls()
        require(house.stop() == 0, "no clean stop")
    findings.figures = {
        "images": len(jobs),
        "objects in Orthanc": objects,
        "images a second": len(jobs) / lasted,
        "processes that fell": falls,
    }
    findings.rows = [_judged(name, looks, findings) for name, looks in watch.looks.items()]
    if falls:
        findings.fail(run=order.first, what="all", found=f"{falls} processes fell")
    return findings


def _send(house: House, engine: Engine, film: Film, order: Order) -> Traffic:
    """Send as fast as they are taken, with a backlog at all times, until the time is over."""
    traffic = Traffic()
    for start in range(0, order.runs, _AT_ONCE):
        if time.monotonic() > order.ends_at:
            break
        count = min(_AT_ONCE, order.runs - start)
        images = [film.image(order.seed, start + number) for number in range(count)]
        Senders(house.port).send(images, traffic)
        backlog = len(traffic.statuses) - _MOST_WAITING
        wait_for(
            lambda least=backlog: invariants.count_delivered(engine) >= least,  # type: ignore[misc]
            limit_seconds=_HOURS,
        )
    return traffic


def _judged(name: str, looks: list[Look], findings: Findings) -> dict[str, Figure]:
    """Compare the ends of a run; what has grown is a failure."""
    last_done = looks[-1].done
    warm = [look for look in looks if look.done >= WARM_SHARE * last_done]
    quarter = max(1, len(warm) // 4)
    first, last = warm[:quarter], warm[-quarter:]
    before, after = (median(look.resident_bytes for look in some) for some in (first, last))
    growth = after - before
    if growth > max(MOST_GROWTH_BYTES, MOST_GROWTH_SHARE * before):
        findings.fail(
            run=findings.order.first, what=name, found=f"grew by {growth / 2**20:.0f} MiB"
        )
    row: dict[str, Figure] = {
        "process": name,
        "memory, first quarter, MiB": before / 2**20,
        "last quarter, MiB": after / 2**20,
    }
    for thing in ("threads", "files", "connections"):
        most, at_end = max(getattr(look, thing) for look in first), getattr(looks[-1], thing)
        row[f"{thing}, warm"], row[f"{thing}, end"] = most, at_end
        if at_end > most + MOST_MORE_THINGS:
            findings.fail(
                run=findings.order.first, what=name, found=f"{at_end} {thing}, had {most}"
            )
    return row
