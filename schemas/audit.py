"""The sealed audit trail: what a seal says, and what can be wrong with the trail."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AuditFault(StrEnum):
    """What was done to the trail behind our back."""

    CHANGED = "changed"  #: an event is not what it was when it was written
    MISSING = "missing"  #: an event was removed
    SWAPPED = "swapped"  #: two events stand in each other's place
    INSERTED = "inserted"  #: an event was put between others after these were sealed
    CUT_OFF = "cut_off"  #: the end of the trail was removed
    SEAL = "seal"  #: a seal was changed or removed
    NO_ANCHOR = "no_anchor"  #: nothing outside the database says how far the trail reached
    TOMBSTONE = "tombstone"  #: what says that retention removed rows was forged or changed
    RESULT = "result"  #: a result, or the state of a job, is not what the trail says
    FILE = "file"  #: a file of a result is gone, or not what was written
    ANCHOR = "anchor"  #: the anchor file is damaged, or another key sealed it


class ExportForm(StrEnum):
    """How events are written for others."""

    CSV = "csv"
    JSON = "jsonl"  #: one object a line
    DICOM = "dicom"  #: one audit message (PS3.15, A.5) a line


#: how the first line of CSV begins, which holds no event
HEADING = "event_id,"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditProblem:
    """One thing that `boneage audit verify` found, and where."""

    kind: AuditFault
    event_id: int | None  #: None: it concerns the trail as a whole
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile:
    """One file of a result that should be there, as the trail has it."""

    path: str  #: relative to the storage root
    sha256: str  #: hexadecimal
    job_id: int
    event_id: int  #: of the event that says so


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The head of the sealed chain: nothing up to here can change unseen."""

    position: int  #: 1 for the first sealed event
    event_id: int
    seal: str  #: HMAC-SHA256, hexadecimal
    sealed_at: datetime  #: when the trail was last found complete up to here
