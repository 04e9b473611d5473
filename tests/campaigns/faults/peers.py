"""Destinations that are away, full, strict, forgetful or silent: nothing is lost or sent twice.

A real Orthanc wherever it can be made to do it; a real SCP that obeys for the rest.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage
from sqlalchemy import Engine

from schemas.jobs import JobState, OutboxState
from schemas.tables import Job, OutboxRow
from tests.campaigns.faults import invariants
from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.campaigns.faults.house import House, Site, destination, house_with_orthanc, sender
from tests.campaigns.faults.invariants import require
from tests.campaigns.faults.sending import SENDERS, Film, Image, Senders
from tests.fakes import Drop, FakePacs
from tests.orthanc import Orthanc, free_port, wait_for
from worker.queue.database import reading

IMAGES = 4
_FAILED = (AssertionError, OSError, TimeoutError, pytest.fail.Exception)
_TO_FAKE, _TO_ARCHIVE = "TO_FAKE", "TO_ARCHIVE"
_FORGETFUL = """
local forgotten = {}
function OnStoredInstance(id, tags, metadata, origin)
  local told = io.open("%s", "r")
  if told == nil then return end
  told:close()
  if forgotten[id] == nil then
    forgotten[id] = true
    RestApiDelete("/instances/" .. id)
  end
end
"""


class JobFound(NamedTuple):
    id: int
    state: JobState


class RowFound(NamedTuple):
    state: OutboxState
    attempt: int
    status: int | None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One installation, its three destinations, and the images of this run."""

    house: House
    engine: Engine
    pacs: Orthanc
    fake: FakePacs  #: owes us no proof; SR classes from Comprehensive 3D on
    archive: FakePacs  #: proves by storage commitment
    forgetful: Path  #: while this file is there, Orthanc loses each object once
    images: Sequence[Image]

    def send(self, *calling_aes: str) -> None:
        """Send the images and see them acknowledged."""
        traffic = Senders(self.house.port, calling_aes=calling_aes).send(self.images)
        require(len(traffic.acknowledged) == len(self.images), "an image was not taken")

    def wait_until_delivered(self) -> None:
        invariants.wait_until_terminal(self.engine, self.images)
        found = {job.state for job in self.jobs()}
        require(found == {JobState.DELIVERED}, f"jobs are {sorted(found)}")

    def jobs(self) -> list[JobFound]:
        uids = [image.sop_instance_uid for image in self.images]
        with reading(self.engine) as session:
            jobs = sa.select(Job.id, Job.state).where(Job.sop_instance_uid.in_(uids))
            return [JobFound(*row) for row in session.execute(jobs)]

    def rows(self) -> list[RowFound]:
        """Return everything that is owed for the images."""
        ids = [job.id for job in self.jobs()]
        with reading(self.engine) as session:
            rows = sa.select(OutboxRow.state, OutboxRow.attempt, OutboxRow.status)
            return [
                RowFound(*row) for row in session.execute(rows.where(OutboxRow.job_id.in_(ids)))
            ]

    def require_in_orthanc(self) -> None:
        self.wait_until_delivered()
        invariants.require_objects_once(self.engine, self.pacs, self.images, is_whole=True)

    def require_in(self, pacs: FakePacs) -> None:
        """The destination holds one report and one page of each image, and nothing else."""
        self.wait_until_delivered()
        held = [(each.StudyInstanceUID, each.Modality) for each in pacs.stored.values()]
        wanted = [(each.study_instance_uid, kind) for each in self.images for kind in ("SR", "OT")]
        require(sorted(held) == sorted(wanted), f"{len(held)} objects, {len(wanted)} are owed")


def orthanc_is_stopped(scene: Scene) -> None:
    scene.pacs.stop()
    scene.send(*SENDERS)
    wait_for(lambda: sum(row.attempt for row in scene.rows()) >= 2)
    scene.pacs.start()
    scene.require_in_orthanc()


def orthanc_is_restarted(scene: Scene) -> None:
    scene.send(*SENDERS)
    wait_for(lambda: scene.pacs.count() > 0)
    scene.pacs.stop()
    scene.pacs.start()
    scene.require_in_orthanc()


def orthanc_loses_what_it_took(scene: Scene) -> None:
    scene.forgetful.touch()
    scene.send(*SENDERS)
    wait_for(lambda: any(row.attempt > 1 for row in scene.rows()))
    scene.require_in_orthanc()
    scene.forgetful.unlink()
    attempts = [row.attempt for row in scene.rows()]
    require(min(attempts) >= 2, f"an object that was lost was not sent again: {attempts}")


def answers(status: int) -> Callable[[Scene], None]:
    """Return the scene of a destination that gives one answer three times."""

    def scene_of_status(scene: Scene) -> None:
        scene.fake.answer(status, status, status)
        scene.send(_TO_FAKE)
        scene.require_in(scene.fake)
        told = [request.status for request in scene.fake.requests]
        require(told.count(status) == 3, f"it was not asked again: {told}")

    return scene_of_status


def warns_of_coercion(scene: Scene) -> None:
    scene.fake.always_answer(0xB000)
    scene.send(_TO_FAKE)
    scene.require_in(scene.fake)
    require({row.status for row in scene.rows()} == {0xB000}, "the warning is not remembered")
    require({row.attempt for row in scene.rows()} == {1}, "a warning was taken for a failure")


def cannot_understand(scene: Scene) -> None:
    """0xC001: three tries, then an operator, who mends it; the same bytes go."""
    scene.fake.always_answer(0xC001)
    scene.send(_TO_FAKE)
    wait_for(lambda: {job.state for job in scene.jobs()} == {JobState.FAILED})
    require({row.attempt for row in scene.rows()} == {3}, "not three tries")
    scene.fake.always_answer(0x0000)
    for job in scene.jobs():
        again = ("jobs", "requeue", str(job.id), "--deliver-only", "--yes", "--reason", "mended")
        told = scene.house.command(*again)
        require(told.returncode == 0, told.stderr)
    scene.require_in(scene.fake)


def cuts(drop: Drop) -> Callable[[Scene], None]:
    """Return the scene of a destination that cuts two transfers."""

    def scene_of_cut(scene: Scene) -> None:
        scene.fake.drop(drop, drop)
        scene.send(_TO_FAKE)
        scene.require_in(scene.fake)
        require(max(row.attempt for row in scene.rows()) >= 2, "nothing was cut")

    return scene_of_cut


def refuses_comprehensive_3d(scene: Scene) -> None:
    scene.fake.refuse(Comprehensive3DSRStorage)
    scene.send(_TO_FAKE)
    scene.require_in(scene.fake)
    reports = [each for each in scene.fake.stored.values() if each.Modality == "SR"]
    found = {each.SOPClassUID for each in reports}
    require(found == {ComprehensiveSRStorage}, f"reports came as {found}")


def archive_reports_a_loss(scene: Scene) -> None:
    scene.send(_TO_ARCHIVE)
    scene.archive.wait_for(lambda pacs: len(pacs.stored) > 0, limit_seconds=60)
    scene.archive.lose()
    scene.require_in(scene.archive)
    require(max(row.attempt for row in scene.rows()) >= 2, "what was lost was not sent again")


def archive_is_silent(scene: Scene) -> None:
    scene.archive.reports_at_once = False
    scene.send(_TO_ARCHIVE)
    wait_for(lambda: any(row.attempt > 1 for row in scene.rows()))
    scene.archive.reports_at_once = True
    scene.require_in(scene.archive)


def archive_refuses_to_commit(scene: Scene) -> None:
    scene.archive.commitment_status = 0x0110
    scene.send(_TO_ARCHIVE)
    scene.archive.wait_for(lambda pacs: len(pacs.questions) >= 2, limit_seconds=60)
    require({row.state for row in scene.rows()} <= _NOT_CONFIRMED, "confirmed without a proof")
    scene.archive.commitment_status = 0x0000
    scene.require_in(scene.archive)


_NOT_CONFIRMED = {OutboxState.WAITING, OutboxState.SENDING, OutboxState.SENT}
SCENES: dict[str, Callable[[Scene], None]] = {
    "Orthanc is stopped": orthanc_is_stopped,
    "Orthanc is restarted": orthanc_is_restarted,
    "Orthanc takes and loses": orthanc_loses_what_it_took,
    "answers 0xA700": answers(0xA700),
    "answers 0x0110": answers(0x0110),
    "answers 0xB000": warns_of_coercion,
    "answers 0xC001": cannot_understand,
    "aborts in mid-transfer": cuts(Drop.DURING_TRANSFER),
    "aborts before its answer": cuts(Drop.BEFORE_ANSWER),
    "refuses Comprehensive 3D": refuses_comprehensive_3d,
    "commitment: reports a loss": archive_reports_a_loss,
    "commitment: never reports": archive_is_silent,
    "commitment: refused": archive_refuses_to_commit,
}


def campaign(
    folder: Path, order: Order, *, tell: Callable[[str], None], scenes: Sequence[str] = ()
) -> Findings:
    """Play the scenes in turn, one in each run."""
    findings = Findings(campaign="peers", order=order)
    names = scenes or tuple(SCENES)
    lasted: dict[str, list[float]] = {name: [] for name in names}
    forgetful, script = folder / "forgetful", folder / "forgetful.lua"
    folder.mkdir(parents=True, exist_ok=True)
    script.write_text(_FORGETFUL % forgetful)
    film = Film(seed=order.seed, rows=64, columns=64)
    ports = (free_port(), free_port())
    site = Site(more_peers=_peers(*ports), scripts=[script])
    with house_with_orthanc(folder, site) as (house, pacs), house.engine() as engine:
        for number in order.numbers:
            name = names[(number - 1) % len(names)]
            with (
                FakePacs("FAKE", port=ports[0]) as fake,
                FakePacs("ARCHIVE", port=ports[1]) as archive,
            ):
                scene = Scene(
                    house=house,
                    engine=engine,
                    pacs=pacs,
                    fake=fake,
                    archive=archive,
                    forgetful=forgetful,
                    images=film.images(number, IMAGES),
                )
                lasted[name] += _play(name, scene, number, findings)
            tell(f"run {number}: {name}: {len(findings.failures)} failed so far")
        findings.figures["processes that fell"] = house.falls()
        require(house.stop() == 0, "no clean stop")
        findings.rows = [_row(name, lasted[name], findings) for name in names]
    return findings


def _peers(fake_port: int, archive_port: int) -> list[str]:
    from_3d = 'sr_classes = ["comprehensive_3d", "comprehensive", "enhanced", "basic_text"]'
    return [
        destination("fake", ae_title="FAKE", port=fake_port, more=from_3d),
        destination("archive", ae_title="ARCHIVE", port=archive_port),
        sender(_TO_FAKE, "fake"),
        sender(_TO_ARCHIVE, "archive"),
    ]


def _play(name: str, scene: Scene, number: int, findings: Findings) -> list[float]:
    """Play one scene before destinations that hold nothing; return how long it took."""
    scene.archive.reports_at_once = True
    scene.pacs.empty()
    began = time.monotonic()
    try:
        SCENES[name](scene)
        jobs = [job.id for job in scene.jobs()]
        require(len(jobs) == IMAGES, f"{len(jobs)} jobs for {IMAGES} images")
        invariants.require_chains(scene.engine, jobs)
    except _FAILED as error:
        findings.fail(run=number, what=name, found=str(error))
        return []
    return [time.monotonic() - began]


def _row(name: str, lasted: Sequence[float], findings: Findings) -> dict[str, Figure]:
    failed = sum(each.what == name for each in findings.failures)
    return {
        "the destination …": name,
        "runs": len(lasted) + failed,
        "failed": failed,
        "longest until confirmed, s": max(lasted, default=0.0),
    }
