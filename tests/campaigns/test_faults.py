"""The short form of the fault campaigns; the long one is ``make faults``."""

import json
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.jobs import JobState, Outcome
from schemas.tables import JobEventRow
from tests.campaigns.faults import clocks, disk, invariants, kill, peers, restore
from tests.campaigns.faults.__main__ import CAMPAIGNS, main
from tests.campaigns.faults.findings import Findings, Order, table
from tests.campaigns.faults.points import NAMES, POINTS, POWER, Point
from tests.campaigns.faults.sending import SUCCESS, Film, Image, Traffic
from tests.worker.queue.makers import arrival, claimed, send_all, settled
from tests.worker.queue.many import finish, now, queue_at
from worker.queue.database import check
from worker.queue.outbox import Outbox

pytestmark = [
    # pynetdicom leaves the socket of a peer that was killed to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def silent(_line: str) -> None:
    """Nobody waits for progress here."""


def failures(findings: Findings) -> list[str]:
    return [each.found for each in findings.failures]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_every_point_is_a_call_that_is_there(point: Point) -> None:
    assert callable(pkgutil.resolve_name(point.where))


@pytest.mark.slow
def test_what_was_acknowledged_is_delivered_once_wherever_a_process_is_killed(
    tmp_path: Path,
) -> None:
    points = ("listen.renamed", "deliver.answered")

    findings = kill.campaign(tmp_path, Order(runs=2, seed=4), tell=silent, points=points)

    assert failures(findings) == []
    assert [row["killed at"] for row in findings.rows] == list(points)
    assert findings.figures["processes that fell"] == 2


@pytest.mark.slow
def test_a_pacs_that_loses_what_it_took_gets_it_again(tmp_path: Path) -> None:
    scenes = ("Orthanc takes and loses",)

    findings = peers.campaign(tmp_path, Order(runs=1, seed=4), tell=silent, scenes=scenes)

    assert failures(findings) == []
    assert sum(int(row["runs"]) for row in findings.rows) == 1


@pytest.mark.slow
def test_a_full_disk_loses_nothing_and_nobody_has_to_help(tmp_path: Path) -> None:
    findings = disk.campaign(tmp_path, Order(runs=1, seed=4, first=2), tell=silent)

    assert failures(findings) == []
    (row,) = findings.rows
    assert row["images taken"] == disk.IMAGES
    assert int(row["0xA700"]) > 0


@pytest.mark.slow
def test_a_restore_in_the_middle_of_traffic_loses_no_image(tmp_path: Path) -> None:
    findings = restore.campaign(tmp_path, Order(runs=1, seed=1), tell=silent)

    assert failures(findings) == []
    assert findings.figures["images acknowledged"] == restore.IMAGES
    assert int(findings.figures["images that the back-up did not know, read again"]) > 0


@pytest.mark.slow
def test_hosts_ten_minutes_apart_finish_each_job_once_although_one_dies(tmp_path: Path) -> None:
    scenes = ("three hosts ten minutes apart",)

    findings = clocks.campaign(tmp_path, Order(runs=1, seed=4), tell=silent, scenes=scenes)

    assert failures(findings) == []
    assert len(findings.rows) == 1


# what the campaigns would find


@pytest.fixture
def images(engine: Engine) -> list[Image]:
    """Two images; the first is delivered."""
    made = Film(seed=1, rows=64, columns=64).images(1, 2)
    settled(queue_at(engine), uid=made[0].sop_instance_uid)
    send_all(Outbox(engine, now=now, actor="deliver"))
    return made


def told(*images: Image) -> Traffic:
    return Traffic(statuses={image.sop_instance_uid: [SUCCESS] for image in images})


def test_an_image_that_was_never_acknowledged_may_be_missing(
    engine: Engine, images: list[Image]
) -> None:
    assert len(invariants.require_one_job_each(engine, images, told(images[0]))) == 1


def test_a_success_without_a_job_is_found_out(engine: Engine, images: list[Image]) -> None:
    with pytest.raises(invariants.BrokenPromiseError, match="has 0 jobs"):
        invariants.require_one_job_each(engine, images, told(*images))


def test_a_job_that_waits_for_somebody_is_found_out(engine: Engine, images: list[Image]) -> None:
    queue_at(engine).receive(arrival(images[1].sop_instance_uid))

    assert invariants.unfinished(engine, [image.sop_instance_uid for image in images]) == 1
    with pytest.raises(invariants.BrokenPromiseError, match="is queued"):
        invariants.require_one_job_each(engine, images, told(*images))


def test_a_sound_image_that_was_refused_is_found_out(engine: Engine, images: list[Image]) -> None:
    refused = {"outcome": Outcome.REFUSED, "reason": "technical"}
    settled(queue_at(engine), uid=images[1].sop_instance_uid, **refused)
    send_all(Outbox(engine, now=now, actor="deliver"))

    with pytest.raises(invariants.BrokenPromiseError, match="was refused: technical"):
        invariants.require_one_job_each(engine, images, told(*images))


@pytest.mark.parametrize("column", ["reason", "previous_hash"])
def test_an_event_that_was_changed_is_found_out(
    engine: Engine, images: list[Image], column: str
) -> None:
    (job,) = invariants.require_one_job_each(engine, images, told(images[0]))
    assert invariants.require_chains(engine, [job]) > 3
    with engine.begin() as connection:
        settled_event = JobEventRow.event == "settled"
        connection.execute(sa.update(JobEventRow).where(settled_event).values({column: "x"}))

    with pytest.raises(invariants.BrokenPromiseError, match="event 3"):
        invariants.require_chains(engine, [job])


# what they say of themselves


def test_every_process_is_killed_before_and_after_its_durable_steps() -> None:
    by_process = {point.process for point in POINTS}

    assert by_process == {"listen", "infer", "deliver", "schedule"}
    assert len(NAMES) == len(set(NAMES)) >= 12 + 2
    assert POWER in NAMES


def test_thousands_of_finished_jobs_are_made_from_a_few(engine: Engine) -> None:
    finish(engine, 2_000)

    queue = queue_at(engine)
    assert queue.counts()[JobState.DELIVERED] == 2_000
    queue.receive(arrival("9.9"))
    assert claimed(queue).job_id == 2_001
    assert check(engine) == ()


def test_the_same_seed_gives_the_same_faults() -> None:
    assert Order(runs=3, seed=7).chance(2) == Order(runs=1, seed=7, first=2).chance(2)
    assert Order(runs=3, seed=7).chance(2) != Order(runs=3, seed=8).chance(2)


def test_a_failure_says_how_to_see_it_again() -> None:
    findings = Findings(campaign="kill", order=Order(runs=200, seed=7))

    findings.fail(run=37, what="listen.renamed", found="2 jobs")

    assert findings.lines()[-1].strip() == (
        "python -m tests.campaigns.faults kill --runs 1 --first 37 --seed 7"
    )


def test_a_campaign_that_fails_ends_with_one_and_a_file_of_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(_folder: Path, _order: Order, *, tell: Callable[[str], None]) -> Findings:
        tell("run 1")
        raise AssertionError("a promise")

    monkeypatch.setitem(CAMPAIGNS, "kill", (breaks, 1))

    assert main(["kill", "--seed", "5", "--json", str(tmp_path / "figures.json")]) == 1

    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["campaigns"][0]["failures"][0]["found"] == "a promise"
    assert found["campaigns"][0]["order"]["seed"] == 5
    assert found["machine"]["cores"] >= 1
    assert "FAILED run 1" in capsys.readouterr().out


def test_an_unknown_campaign_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["flood"])

    assert "no such campaign: flood" in capsys.readouterr().err


def test_a_table_is_one_in_markdown() -> None:
    lines = table([{"killed at": "listen.renamed", "runs": 7, "longest, s": 1.234}])

    assert lines == [
        "| killed at      | runs | longest, s |",
        "|----------------|------|------------|",
        "| listen.renamed | 7    | 1.23       |",
    ]
