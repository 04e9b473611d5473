"""What an examination finds, and running many of them so that none can hold up the others."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.errors import BoneAgeError


class FindingState(StrEnum):
    """How one thing stands."""

    OK = "ok"  #: right
    WARN = "warn"  #: it works, but somebody should know
    FAIL = "fail"  #: it must be mended before images of patients come
    SKIPPED = "skipped"  #: not looked at, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `boneage doctor`."""

    what: str
    state: FindingState
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """One thing to look at, within a time."""

    what: str
    look: Callable[[], Sequence[Finding]]
    seconds: float = 30.0


@dataclass(slots=True, kw_only=True)
class _Under:
    examination: Examination
    findings: list[Finding] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)


def examine(examinations: Sequence[Examination]) -> Iterator[tuple[Finding, ...]]:
    """Yield what each finds, in their order; one that hangs is left behind, and that is said."""
    for each in examinations:
        under = _Under(examination=each)
        threading.Thread(target=_look, args=(under,), name=each.what, daemon=True).start()
        if under.is_over.wait(each.seconds):
            yield tuple(under.findings)
        else:
            yield (_late(each),)


def ok(what: str, found: str) -> Finding:
    """Return a finding that all is right."""
    return Finding(what=what, state=FindingState.OK, found=found)


def warn(what: str, found: str, mend: str) -> Finding:
    """Return a finding that somebody should know."""
    return Finding(what=what, state=FindingState.WARN, found=found, mend=mend)


def fail(what: str, found: str, mend: str) -> Finding:
    """Return a finding that must be mended."""
    return Finding(what=what, state=FindingState.FAIL, found=found, mend=mend)


def skipped(what: str, found: str, mend: str = "") -> Finding:
    """Return why something was not looked at."""
    return Finding(what=what, state=FindingState.SKIPPED, found=found, mend=mend)


def _look(under: _Under) -> None:
    what = under.examination.what
    try:
        under.findings += under.examination.look()
    except BoneAgeError as error:
        under.findings.append(fail(what, str(error), f"See {error.code} in the README."))
    except OSError as error:
        found = f"{error.strerror or type(error).__name__}: {error.filename or 'no file named'}"
        under.findings.append(fail(what, found, "Mend the path or its rights."))
    except Exception as error:  # noqa: BLE001 - the others are to be looked at all the same
        found = f"The examination itself failed ({type(error).__name__})."
        under.findings.append(fail(what, found, "This is a bug in boneage-worker: report it."))
    finally:
        under.is_over.set()


def _late(each: Examination) -> Finding:
    found = f"It did not end within {each.seconds:.0f} seconds."
    return fail(each.what, found, "Look what it waits for: a disk, a driver, a database, a peer.")
