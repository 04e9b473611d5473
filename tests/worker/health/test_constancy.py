from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from models.release.errors import NoSuchReleaseError
from schemas.figures import ConstancyFigures
from schemas.jobs import JobState
from schemas.releases import Phantom
from worker.health.constancy import Constancy, Expected
from worker.operations.constancy import is_due

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIX_HOURS = timedelta(hours=6)
PHANTOM = Phantom(
    age_months=120, sex="M", digest="d", known_value_months=131.3, tolerance_months=0.1
)
EXPECTED = Expected(phantom=PHANTOM, release_digest="r")
CONSTANCY = Constancy(expected=lambda: EXPECTED, stalled_after=timedelta(minutes=15))


def one_round(**overrides: Any) -> ConstancyFigures:  # noqa: ANN401 - any field of the type
    started_at = overrides.pop("started_at", NOW - timedelta(minutes=20))
    values = {
        "job_id": 7,
        "started_at": started_at,
        "state": JobState.DELIVERED,
        "reason": None,
        "ended_at": started_at + timedelta(seconds=5),
        "release_digest": "r",
        "bone_age_months": 131.35,
    }
    return ConstancyFigures(**(values | overrides))


def is_due_now(*rounds: ConstancyFigures) -> bool:
    return is_due(rounds, at=NOW, every=SIX_HOURS, expected=EXPECTED)


def test_a_phantom_that_came_out_as_known_is_well() -> None:
    assert CONSTANCY.check((one_round(),), NOW).is_ok


def test_a_phantom_that_came_out_older_is_not_well_and_says_by_how_much() -> None:
    found = CONSTANCY.value((one_round(bone_age_months=131.5),))

    assert not found.is_ok
    assert "+0.20 months" in found.message
    assert "cannot be trusted" in found.message


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.IGNORED])
def test_a_phantom_that_did_not_come_back_is_not_well(state: JobState) -> None:
    found = CONSTANCY.value((one_round(state=state, bone_age_months=None, reason="technical"),))

    assert not found.is_ok
    assert "jobs show 7" in found.message


def test_a_phantom_that_is_long_under_way_is_not_well_though_the_last_was_right() -> None:
    stuck = one_round(state=JobState.RUNNING, ended_at=None)
    former = one_round(started_at=NOW - timedelta(hours=6))

    found = CONSTANCY.check((stuck, former), NOW)

    assert not found.is_ok
    assert "20 minutes" in found.message
    assert CONSTANCY.value((stuck, former)).is_ok


def test_before_the_first_round_nothing_is_said_against_the_worker() -> None:
    assert CONSTANCY.check((), NOW).is_ok


def test_what_another_release_said_is_not_held_against_this_one() -> None:
    assert CONSTANCY.value((one_round(release_digest="former", bone_age_months=99.0),)).is_ok


def test_without_a_release_nothing_is_well() -> None:
    def missing() -> Expected:
        raise NoSuchReleaseError(path="nowhere")  # type: ignore[arg-type] # any path

    assert not Constancy(expected=missing, stalled_after=SIX_HOURS).value(()).is_ok


def test_the_phantom_is_sent_first_and_then_in_its_rhythm() -> None:
    assert is_due_now()
    assert not is_due_now(one_round(started_at=NOW - timedelta(hours=5)))
    assert is_due_now(one_round(started_at=NOW - SIX_HOURS))


def test_no_second_phantom_is_sent_while_one_is_under_way() -> None:
    assert not is_due_now(one_round(started_at=NOW - timedelta(days=1), ended_at=None))


@pytest.mark.parametrize("wrong", [{"bone_age_months": 140.0}, {"release_digest": "former"}])
def test_a_wrong_round_or_another_release_is_followed_by_a_round_soon(wrong: Any) -> None:  # noqa: ANN401
    assert not is_due_now(one_round(started_at=NOW - timedelta(minutes=14), **wrong))
    assert is_due_now(one_round(started_at=NOW - timedelta(minutes=15), **wrong))
