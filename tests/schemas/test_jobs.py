from datetime import timedelta

import pytest

from schemas.jobs import MOVES, JobState, RetryPolicy

POLICY = RetryPolicy(
    attempts=3,
    first_delay=timedelta(seconds=5),
    factor=2,
    longest_delay=timedelta(seconds=60),
)


def test_every_state_can_be_left() -> None:
    assert set(MOVES) == set(JobState)
    assert all(MOVES.values())


def test_every_state_can_be_reached_from_queued() -> None:
    reached = {JobState.QUEUED}
    while more := {after for before in reached for after in MOVES[before]} - reached:
        reached |= more

    assert reached == set(JobState)


def test_only_a_worker_that_holds_the_job_brings_it_to_delivery_the_first_time() -> None:
    to_delivering = {before for before, after in MOVES.items() if JobState.DELIVERING in after}

    assert to_delivering == {
        JobState.RUNNING,
        JobState.DELIVERED,
        JobState.FAILED,
        JobState.CANCELLED,
    }


def test_the_moves_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MOVES[JobState.QUEUED] = frozenset()  # type: ignore[index] # that is the point


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (2000, 60)]
)
def test_each_delay_is_longer_until_the_longest(attempt: int, seconds: int) -> None:
    assert POLICY.delay_after(attempt) == timedelta(seconds=seconds)


def test_the_last_attempt_allowed_is_the_last() -> None:
    assert [POLICY.is_exhausted(attempt) for attempt in (1, 2, 3, 4)] == [False, False, True, True]
