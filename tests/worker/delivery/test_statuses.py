import pytest

from worker.delivery.statuses import Verdict, judge


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_success_and_the_three_warnings_of_storage_are_stored(status: int) -> None:
    assert judge(status, is_ours=False) is Verdict.STORED


def test_a_duplicate_is_stored_only_if_the_destination_took_these_bytes_before() -> None:
    assert judge(0x0111, is_ours=True) is Verdict.STORED
    assert judge(0x0111, is_ours=False) is Verdict.LIMITED


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FF, 0x0110, 0x0210, 0x0213])
def test_what_waiting_may_mend_is_tried_again(status: int) -> None:
    assert judge(status, is_ours=False) is Verdict.RETRY


@pytest.mark.parametrize("status", [0x0122, 0xA900, 0xA9FF])
def test_a_refused_class_asks_for_the_next_class(status: int) -> None:
    assert judge(status, is_ours=False) is Verdict.CLASS_REFUSED


@pytest.mark.parametrize("status", [0xC000, 0xC001, 0xC211, 0xCFFF])
def test_what_was_not_understood_gets_a_few_tries(status: int) -> None:
    assert judge(status, is_ours=False) is Verdict.LIMITED


@pytest.mark.parametrize("status", [0x0124, 0x0117, 0x0211, 0x0212])
def test_what_the_same_bytes_cannot_mend_stops_at_once(status: int) -> None:
    assert judge(status, is_ours=False) is Verdict.PERMANENT


@pytest.mark.parametrize("status", [0x0001, 0x0107, 0xB001, 0xFE00, 0xFF00, 0x1234, 0xA800])
def test_a_status_that_storage_does_not_have_is_never_taken_for_success(status: int) -> None:
    assert judge(status, is_ours=True) is Verdict.LIMITED
