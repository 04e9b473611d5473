"""What metrics and status page count. No UID and nothing of a patient stands in any of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from schemas.jobs import JobState, Outcome, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much stands in one place, and since when."""

    count: int = 0
    oldest_at: datetime | None = None  #: when the oldest came to be waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFigures:
    """What one destination is owed, and whether it takes it."""

    destination: str
    waiting: Backlog
    failed: int  #: objects that need an operator
    last_taken_at: datetime | None
    has_refused: bool  #: an object that waits was tried in vain, and nothing was taken since then


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFigures:
    """Bone age minus chronological age of the newest estimates for one sex."""

    sex: str
    count: int
    mean_months: float
    median_months: float
    #: of the estimates before those; None: there are too few to compare with
    former_mean_months: float | None = None
    #: of the difference between the two means
    standard_error_months: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicFigures:
    """One job of the schedule."""

    name: str
    succeeded_at: datetime | None
    failed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstancyFigures:
    """One round of the constancy phantom."""

    job_id: int
    started_at: datetime
    state: JobState
    reason: str | None  #: why there is no number
    ended_at: datetime | None  #: when its job came to rest; None: it is under way
    release_digest: str | None  #: of the release that read it; None: none has yet
    bone_age_months: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoFigures:
    """What one destination answered to the last C-ECHO."""

    peer: str
    is_up: bool
    since: datetime  #: when it came to be so
    checked_at: datetime
    found: str  #: what was wrong, in words; empty: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything at one moment, read in one transaction."""

    at: datetime  #: by the clock that counts: that of the database where hosts may disagree
    jobs: Mapping[JobState, Backlog]
    due: Backlog  #: queued jobs that a worker could take now
    last_result_at: datetime | None
    last_delivered_at: datetime | None
    destinations: tuple[DestinationFigures, ...]
    drift: tuple[DriftFigures, ...]
    periodic: tuple[PeriodicFigures, ...]
    constancy: tuple[ConstancyFigures, ...] = ()  #: the newest rounds, newest first
    echoes: tuple[EchoFigures, ...] = ()
    #: jobs that were called overdue and still are in that stage
    overdue: Mapping[Stage, int] = field(default_factory=dict)
    quarantined: int = 0  #: contents that were set aside in the last days


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFigures:
    """One result, as the counters take it."""

    result_id: int
    outcome: Outcome
    reason: str
    release: str
    sex: str | None
    difference_months: float | None  #: bone age minus chronological age
    is_phantom: bool
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingFigures:
    """One job that ended without a result."""

    event_id: int
    event: str  #: "failed" or "ignored"
    reason: str  #: a code


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedJob:
    """When an image came, and what became of it."""

    received_at: datetime
    state: JobState
    outcome: Outcome | None
