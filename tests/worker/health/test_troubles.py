from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.figures import (
    Backlog,
    DestinationFigures,
    DriftFigures,
    EchoFigures,
    PeriodicFigures,
    Snapshot,
)
from schemas.jobs import JobState, Stage
from schemas.phantom import CONSTANCY_PEER
from worker.health.troubles import Patience, troubles
from worker.health.verdict import Check

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENCE = Patience(destination_down=timedelta(minutes=30), drift_months=6)


def snapshot(*, failed: int = 0, **overrides: Any) -> Snapshot:  # noqa: ANN401 - any field of the type
    values: dict[str, Any] = {
        "at": NOW,
        "jobs": {state: Backlog() for state in JobState} | {JobState.FAILED: Backlog(count=failed)},
        "due": Backlog(),
        "last_result_at": None,
        "last_delivered_at": None,
        "destinations": (),
        "drift": (),
        "periodic": (),
    }
    return Snapshot(**(values | overrides))


def keys(*checks: Check, **figures: Any) -> list[str]:  # noqa: ANN401 - as snapshot
    return [one.key for one in troubles(snapshot(**figures), checks, patience=PATIENCE)]


def silent_for(minutes: int, *, peer: str = "pacs") -> EchoFigures:
    since = NOW - timedelta(minutes=minutes)
    return EchoFigures(peer=peer, is_up=False, since=since, checked_at=NOW, found="peer.away")


def drift(shift: float, *, error: float = 1.0) -> DriftFigures:
    return DriftFigures(
        sex="F",
        count=100,
        mean_months=2 + shift,
        median_months=0,
        former_mean_months=2,
        standard_error_months=error,
    )


def test_a_healthy_worker_troubles_nobody() -> None:
    assert keys(Check(name="disk", is_ok=True, message="")) == []


def test_a_check_that_fails_is_told() -> None:
    assert keys(Check(name="disk", is_ok=False, message="Free space.")) == ["check:disk"]


def test_failed_jobs_are_one_trouble_that_grows() -> None:
    (found,) = troubles(snapshot(failed=3), (), patience=PATIENCE)

    assert (found.key, found.size) == ("failed_jobs", 3)


def test_images_that_are_overdue_are_told_by_stage() -> None:
    assert keys(overdue={Stage.ESTIMATE: 0, Stage.DELIVER: 2}) == ["overdue:deliver"]


def test_quarantined_images_are_told() -> None:
    assert keys(quarantined=1) == ["quarantined"]


def test_a_destination_is_told_only_when_it_is_down_for_long() -> None:
    assert keys(echoes=(silent_for(29),)) == []
    assert keys(echoes=(silent_for(30),)) == ["destination:pacs"]


def test_a_destination_that_answers_but_takes_nothing_is_told() -> None:
    figures = DestinationFigures(
        destination="pacs",
        waiting=Backlog(count=4, oldest_at=NOW - timedelta(hours=2)),
        failed=0,
        last_taken_at=None,
        has_refused=True,
    )

    assert keys(destinations=(figures,)) == ["destination:pacs"]


def test_the_destination_of_the_constancy_check_is_none_that_people_know() -> None:
    assert keys(echoes=(silent_for(99, peer=CONSTANCY_PEER),)) == []


def test_a_mean_that_moved_is_drift() -> None:
    assert keys(drift=(drift(6.5),)) == ["drift:F"]


def test_a_mean_that_moved_by_chance_is_no_drift() -> None:
    assert keys(drift=(drift(6.5, error=3.0),)) == []


def test_a_trail_that_cannot_be_sealed_is_told_until_it_can() -> None:
    failed = PeriodicFigures(name="seal", succeeded_at=NOW - timedelta(hours=1), failed_at=NOW)
    mended = PeriodicFigures(name="seal", succeeded_at=NOW, failed_at=NOW - timedelta(hours=1))

    assert keys(periodic=(failed,)) == ["task:seal"]
    assert keys(periodic=(mended,)) == []


def test_a_device_that_reads_the_phantom_wrong_is_named() -> None:
    failed = PeriodicFigures(name="phantom cuda:1", succeeded_at=None, failed_at=NOW)

    (told,) = troubles(snapshot(periodic=(failed,)), (), patience=PATIENCE)

    assert told.title == "Device cuda:1 does not read the phantom right"
    assert "boneage doctor" in told.message
