"""What is to become of a claimed job; and the one function that maps errors to it."""

import traceback
from dataclasses import dataclass

from schemas.errors import BoneAgeError, TransientError, UnsuitableImageError
from schemas.jobs import NewResult
from schemas.refusals import IgnoreReason, RefusalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """An estimate or a refusal is on disk and goes out."""

    result: NewResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """No rule wanted the image."""

    reason: IgnoreReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """A resent image changes nothing that the current result says."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A resent object holds another image: a person must look."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error, and what its family asks for."""

    code: str
    message: str  #: for an operator; holds no value out of a header
    may_pass: bool  #: waiting may help
    refusal: RefusalReason | None  #: what the radiologist is told now; None: nothing yet
    detail: str = ""  #: beside the refusal


Decision = Deliver | Ignore | Keep | Quarantine | Failure


def failure_of(error: Exception, *, is_last_attempt: bool) -> Failure:
    """Map an error to what happens next: the only place in this room that does.

    | family | the job | the radiologist |
    | --- | --- | --- |
    | ``UnsuitableImageError`` | delivers | a refusal with its reason |
    | ``TransientError``, ``MemoryError`` | is tried again | nothing, until the last attempt |
    | ``PermanentError``, and anything else | fails | a refusal for a technical reason |

    A technical refusal that can be delivered takes the place of failing.
    """
    if isinstance(error, UnsuitableImageError):
        return Failure(
            code=error.code,
            message=str(error),
            may_pass=False,
            refusal=error.reason,
            detail=error.detail,
        )
    is_ours = isinstance(error, BoneAgeError)
    code = error.code if isinstance(error, BoneAgeError) else f"bug.{type(error).__name__}"
    may_pass = isinstance(error, TransientError | MemoryError)
    return Failure(
        code=code,
        message=str(error) if is_ours else _where(error),
        may_pass=may_pass,
        refusal=None if may_pass and not is_last_attempt else RefusalReason.TECHNICAL,
        detail=code,
    )


def _where(error: Exception) -> str:
    """Say what was raised and where; never its text, which may quote the header."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[-3:]]
    return (
        f"{type(error).__name__} at {' > '.join(places) or 'an unknown place'}. This is a bug: "
        "report it with the traceback in the log; then `boneage jobs requeue`."
    )
