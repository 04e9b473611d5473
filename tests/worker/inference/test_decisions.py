import pytest

from schemas.errors import DeviceError, PermanentError, TransientError, UnsuitableImageError
from schemas.refusals import RefusalReason
from worker.inference.decisions import failure_of

UNSUITABLE = UnsuitableImageError(
    RefusalReason.TOO_SMALL, keyword="Rows", found="12", expected="at least 200"
)


def test_an_unsuitable_image_is_refused_at_once() -> None:
    failure = failure_of(UNSUITABLE, is_last_attempt=False)

    assert (failure.refusal, failure.may_pass) == (RefusalReason.TOO_SMALL, False)
    assert (failure.code, failure.detail) == ("unsuitable.too_small", "Rows: 12")


@pytest.mark.parametrize(
    "error", [TransientError("busy"), DeviceError(fault="lost"), MemoryError()], ids=repr
)
def test_what_may_pass_is_waited_for_in_silence(error: Exception) -> None:
    failure = failure_of(error, is_last_attempt=False)

    assert (failure.refusal, failure.may_pass) == (None, True)


def test_what_did_not_pass_is_told_after_the_last_attempt() -> None:
    failure = failure_of(TransientError("busy"), is_last_attempt=True)

    assert (failure.refusal, failure.may_pass) == (RefusalReason.TECHNICAL, True)


@pytest.mark.parametrize(
    ("error", "code"),
    [(PermanentError("no"), "permanent"), (ZeroDivisionError("no"), "bug.ZeroDivisionError")],
)
def test_what_will_not_pass_is_told_at_once(error: Exception, code: str) -> None:
    failure = failure_of(error, is_last_attempt=False)

    assert (failure.refusal, failure.may_pass) == (RefusalReason.TECHNICAL, False)
    assert failure.code == failure.detail == code


def test_a_bug_is_told_by_its_place_without_its_text() -> None:
    with pytest.raises(ValueError, match="Canary") as raised:
        int("Canary")

    failure = failure_of(raised.value, is_last_attempt=False)

    assert "test_decisions.py" in failure.message
    assert "Canary" not in failure.message
