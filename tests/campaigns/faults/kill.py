"""Kill matrix: `kill -9` before and after each durable step, with four senders sending.

One service and one Orthanc serve all runs: a point is armed, images are sent, somebody dies, the
supervisor brings it back, and when every job has ended the promises are checked. Then Orthanc is
emptied, so that whatever came twice, or late, is seen.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine

from tests.campaigns.faults import invariants
from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.campaigns.faults.house import House, Site, house_with_orthanc
from tests.campaigns.faults.launch import Plan
from tests.campaigns.faults.points import (
    NAMES,
    POINTS,
    POWER,
    SUPERVISOR,
    Arming,
    arm,
    has_fired,
)
from tests.campaigns.faults.sending import Film, Image, Senders, Traffic
from tests.orthanc import Orthanc, wait_for

IMAGES = 8  # of one run, two for each sender
LIMIT_SECONDS = 120.0
_OUTSIDE = frozenset({SUPERVISOR, POWER})
_FAILED = (AssertionError, OSError, pytest.fail.Exception)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One run that kept every promise."""

    point: str
    seconds: float
    acknowledged: int
    unanswered: int


def campaign(
    folder: Path, order: Order, *, tell: Callable[[str], None], points: tuple[str, ...] = NAMES
) -> Findings:
    """Kill once in each run, at the points in turn, and return what was found."""
    findings = Findings(campaign="kill", order=order)
    ended: list[Ended] = []
    with house_with_orthanc(folder, Site(plan=Plan(has_traps=True, images_at_once=4))) as (
        house,
        pacs,
    ):
        matrix = Matrix(house, pacs, order=order, points=points)
        with house.engine() as engine:
            for number in order.numbers:
                ended += matrix.run_noted(engine, number, findings, tell=tell)
            findings.figures |= _figures(house, engine, ended)
        try:
            matrix.require_silence()
            invariants.require_sealed_trail(house)
        except _FAILED as error:
            findings.fail(run=order.first, what="the whole campaign", found=str(error))
        if house.stop() != 0:
            findings.fail(run=order.first, what="clean stop", found="exit code is not 0")
    findings.rows = _table(ended, findings)
    return findings


class Matrix:
    """What all runs of one campaign share."""

    def __init__(
        self, house: House, pacs: Orthanc, *, order: Order, points: tuple[str, ...]
    ) -> None:
        self._house = house
        self._pacs = pacs
        self._order = order
        self._points = points
        self._film = Film(seed=order.seed)
        self._late: list[Image] = []  #: not acknowledged, and not sent again
        self._failed: set[str] = set()  #: studies of runs that did not end as they must

    def run_noted(
        self, engine: Engine, number: int, findings: Findings, *, tell: Callable[[str], None]
    ) -> list[Ended]:
        """Do one run; a broken promise goes into ``findings``."""
        point = self.point_of(number)
        chance = Random(self._order.chance(number))  # noqa: S311 - no secret
        images = self._film.images(number, IMAGES, chance=chance)
        concerned = [*images, *self._late]
        try:
            ended = self._run(engine, number, images, chance)
        except _FAILED as error:
            findings.fail(run=number, what=point, found=str(error))
            tell(f"run {number}: {point}: FAILED: {error}")
            self._failed |= {each.study_instance_uid for each in images}
            return []
        self._pacs.forget({e.study_instance_uid for e in concerned if e not in self._late})
        tell(f"run {number}: {point}: {ended.seconds:.1f} s")
        return [ended]

    def point_of(self, number: int) -> str:
        return self._points[(number - 1) % len(self._points)]

    def _run(self, engine: Engine, number: int, images: Sequence[Image], chance: Random) -> Ended:
        began = time.monotonic()
        point = self.point_of(number)
        over = threading.Event()
        guard = threading.Timer(LIMIT_SECONDS, over.set)
        guard.start()
        try:
            if point in _OUTSIDE:
                traffic = self._strike_from_outside(point, images, over, chance)
            else:
                self._arm(point, number, chance)
                traffic = Senders(self._house.port, over=over).send(images)
                wait_for(lambda: has_fired(self._house.folder), limit_seconds=60)
        finally:
            guard.cancel()
        invariants.require(not over.is_set(), "a sender was not content in time")
        self._check(engine, images, traffic)
        return Ended(
            point=point,
            seconds=time.monotonic() - began,
            acknowledged=len(traffic.acknowledged),
            unanswered=traffic.count(None),
        )

    def _arm(self, point: str, number: int, chance: Random) -> None:
        (most_nth,) = (each.most_nth for each in POINTS if each.name == point)
        nth = chance.randint(1, most_nth)
        arm(self._house.folder, Arming(point=point, nth=nth, run=number))

    def _strike_from_outside(
        self, point: str, images: Sequence[Image], over: threading.Event, chance: Random
    ) -> Traffic:
        """Kill the supervisor, or everything, at any moment of the traffic; start it again."""
        traffic = Traffic()
        senders = threading.Thread(
            target=Senders(self._house.port, over=over).send, args=(images, traffic)
        )
        senders.start()
        over.wait(chance.uniform(0.0, 1.5))
        if point == SUPERVISOR:
            self._house.kill_supervisor()
        else:
            self._house.kill()
            self._house.start()
        senders.join()
        return traffic

    def _check(self, engine: Engine, images: Sequence[Image], traffic: Traffic) -> None:
        """Look at this run's images, and at earlier ones that were never acknowledged.

        Those may lie whole in the spool: `schedule` takes them in when it finds them.
        """
        concerned = [*images, *self._late]
        while True:
            invariants.wait_until_terminal(engine, concerned, limit_seconds=LIMIT_SECONDS)
            taken_in = invariants.with_job(engine, concerned)
            try:
                self._require_promises(engine, concerned, traffic)
                break
            except AssertionError:
                if invariants.with_job(engine, concerned) == taken_in:
                    raise
        self._late = [each for each in concerned if each.sop_instance_uid not in taken_in]

    def _require_promises(self, engine: Engine, images: Sequence[Image], traffic: Traffic) -> None:
        self._pacs.forget(self._failed)  # one failure is told once
        jobs = invariants.require_one_job_each(engine, images, traffic)
        invariants.require_objects_once(engine, self._pacs, images, is_whole=True)
        invariants.require_chains(engine, jobs)
        invariants.require_no_halves(self._house, engine, images)

    def require_silence(self) -> None:
        """Nothing comes twice, or late, after what was looked at was taken away."""
        late = {each.study_instance_uid for each in self._late}
        self._pacs.forget(self._failed | late)
        invariants.require(self._pacs.count() == 0, "an object came after its job had ended")


def _figures(house: House, engine: Engine, ended: list[Ended]) -> dict[str, Figure]:
    return {
        "runs": len(ended),
        "points": len({each.point for each in ended}),
        "acknowledged (0x0000)": sum(each.acknowledged for each in ended),
        "sends without an answer": sum(each.unanswered for each in ended),
        "processes that fell": house.falls(),
        "whole files without a reception": len(invariants.strangers_in_spool(house, engine)),
        "result folders of the dead": len(invariants.strangers_in_results(house, engine)),
    }


def _table(ended: list[Ended], findings: Findings) -> list[dict[str, Figure]]:
    """Return a row for each point, in the order of the steps."""
    by_point: dict[str, list[Ended]] = defaultdict(list)
    for each in ended:
        by_point[each.point].append(each)
    failed = Counter(each.what for each in findings.failures)
    return [
        {
            "killed at": name,
            "runs": len(by_point[name]) + failed[name],
            "failed": failed[name],
            "longest until all was well, s": max((e.seconds for e in by_point[name]), default=0.0),
        }
        for name in NAMES
        if by_point[name] or failed[name]
    ]
