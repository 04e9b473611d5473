"""A job's life: its states, the moves between them, claims and retries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType


class JobState(StrEnum):
    """Where a job stands. DESIGN: one SOP Instance read by one release is one job, for ever."""

    QUEUED = "queued"  #: image on disk, waiting until ``run_after``; a claim moves it on
    RUNNING = "running"  #: one worker holds the claim token; settle, release or rescue moves it on
    DELIVERING = "delivering"  #: content and outbox rows are written; delivery moves it on
    DELIVERED = "delivered"  #: every destination has what it is owed; only a requeue moves it on
    IGNORED = "ignored"  #: no intake rule wanted this image; only a requeue moves it on
    FAILED = "failed"  #: tried as often as allowed, or a permanent error; an operator moves it on
    CANCELLED = "cancelled"  #: an operator stopped it; an operator moves it on


MOVES: Mapping[JobState, frozenset[JobState]] = MappingProxyType(
    {
        JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
        JobState.RUNNING: frozenset(
            {JobState.DELIVERING, JobState.IGNORED, JobState.QUEUED, JobState.FAILED}
        ),
        JobState.DELIVERING: frozenset({JobState.DELIVERED, JobState.FAILED, JobState.CANCELLED}),
        JobState.DELIVERED: frozenset({JobState.QUEUED, JobState.DELIVERING}),
        JobState.IGNORED: frozenset({JobState.QUEUED}),
        JobState.FAILED: frozenset({JobState.QUEUED, JobState.DELIVERING}),
        JobState.CANCELLED: frozenset({JobState.QUEUED, JobState.DELIVERING}),
    }
)


class Outcome(StrEnum):
    """What the radiologist is told: a number, or why there is none."""

    ESTIMATED = "estimated"
    REFUSED = "refused"


class ReceptionState(StrEnum):
    """What became of one distinct content that arrived."""

    KEPT = "kept"  #: the file is on disk and a job may read it
    QUARANTINED = "quarantined"  #: same UID, other pixels: kept, never read, a person must look


class OutboxState(StrEnum):
    """Where one object for one destination stands."""

    WAITING = "waiting"  #: to be sent at ``run_after``
    SENDING = "sending"  #: one deliverer holds the claim token
    SENT = "sent"  #: the destination answered with a stored status; commitment is still owed
    CONFIRMED = "confirmed"  #: all that this destination owes us has come
    FAILED = "failed"  #: an operator is needed
    CANCELLED = "cancelled"  #: an operator stopped the job


class ObjectKind(StrEnum):
    """The objects of one result."""

    SR = "SR"  #: Structured Report
    SC = "SC"  #: Secondary Capture
    HEATMAP = "HEATMAP"  #: Secondary Capture of the heatmap alone; none for a refusal


class Stage(StrEnum):
    """A part of a job's life that has a deadline of its own."""

    ESTIMATE = "estimate"  #: from the image's arrival, or a requeue, to its result
    DELIVER = "deliver"  #: from the result to its last destination


class Priority(StrEnum):
    """How urgent the sender says an image is: Priority (0000,0700) of its C-STORE request."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and after how long, something is tried again."""

    attempts: int
    first_delay: timedelta
    factor: float
    longest_delay: timedelta

    def delay_after(self, attempt: int) -> timedelta:
        """Return how long to wait after the failed ``attempt`` (the first is 1)."""
        exponent = min(attempt - 1, 64)  # far beyond any cap; a float overflows near 1024
        growth = min(self.factor**exponent, self.longest_delay / self.first_delay)
        return min(self.first_delay * growth, self.longest_delay)

    def is_exhausted(self, attempt: int) -> bool:
        """Say whether ``attempt`` was the last one allowed."""
        return attempt >= self.attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One object that has just been written durably to the spool."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    digest: str  #: sha256 of the data set without file meta, hexadecimal
    size_bytes: int
    spool_file: str  #: relative to the storage root
    calling_ae: str
    called_ae: str
    peer_address: str
    priority: Priority = Priority.MEDIUM
    #: found in the spool without a row: it came before, and the database has lost it
    is_recovered: bool = False


class Receipt(StrEnum):
    """What the queue made of an arrival (DESIGN, table of resends)."""

    NEW = "new"  #: first time: reception and job
    DUPLICATE = "duplicate"  #: same bytes: nothing new; the spool file of the first stays
    REVIVED = "revived"  #: same bytes, and a failed, ignored or cancelled job is queued again
    CHANGED = "changed"  #: same UID, other bytes: a reception that inference will compare


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerReport:
    """One SR that was made before of the same image, and what its series follows from."""

    sop_class_uid: str
    sop_instance_uid: str
    revision: int
    release_digest: str
    profile_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work on one job until the lease ends."""

    job_id: int
    token: str
    attempt: int
    lease_ends_at: datetime
    sop_instance_uid: str
    study_instance_uid: str
    calling_ae: str
    release: str  #: name of the release that is to read the image
    revision: int  #: the revision that this attempt will write, from 1
    reception_id: int
    #: relative to the storage root: the oldest reception not yet examined, else the one read last
    spool_file: str
    #: the reception that the current result was made from, if it is another: compare the two
    former_spool_file: str | None
    predecessors: tuple[FormerReport, ...]  #: what the next revision supersedes, oldest first
    is_last_attempt: bool
    received_at: datetime
    #: the image has ended its worker too often: refuse it by its header, leave its pixels alone
    is_refusal_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOutput:
    """One object that a result consists of, already on disk."""

    kind: ObjectKind
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxOrder:
    """One object owed to one destination."""

    kind: ObjectKind
    destination: str  #: name of a configured peer


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """What inference hands to the queue when it settles a job; its files are already durable."""

    outcome: Outcome
    reason: str  #: RefusalReason value, "" for an estimate
    result_folder: str  #: relative to the storage root
    release_digest: str
    profile_digest: str
    outputs: tuple[NewOutput, ...]  #: the SC; the SR is recorded by delivery when it is built
    orders: tuple[OutboxOrder, ...]
    bone_age_months: float | None
    interval_months: tuple[float, float] | None
    sex: str | None
    sex_source: str
    timings_ms: dict[str, float]
    is_phantom: bool = False
    error: str = ""  #: with reason "technical": the last error in words, for ``JobView.error``
    chronological_age_months: float | None = None
    #: sha256 of each file in the folder, hexadecimal, by its name
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxClaim:
    """The right to send one object to one destination until the lease ends."""

    outbox_id: int
    token: str
    attempt: int
    lease_ends_at: datetime
    created_at: datetime
    job_id: int
    result_id: int
    revision: int
    kind: ObjectKind
    destination: str  #: name of a configured peer
    result_folder: str  #: relative to the storage root; see schemas.results for its files
    taken_uids: tuple[str, ...]  #: SOP Instance UIDs that this destination already took from us
    #: of the object that an earlier attempt sent without hearing the answer; it may lie there
    interrupted_uid: str | None = None
    doubtful_tries: int = 0  #: how often the answer was one that seldom mends itself


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedProof:
    """One object that a destination took, and has not yet proved to keep."""

    outbox_id: int
    job_id: int
    kind: ObjectKind
    destination: str
    result_folder: str
    sop_class_uid: str
    sop_instance_uid: str
    sent_at: datetime
    owed_since: datetime
    rounds: int  #: how often it was asked for since it was last sent
    is_asked: bool  #: a question is open, or was until its time ran out


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """One N-ACTION to be sent: who is asked for what."""

    transaction_uid: str
    proofs: tuple[OwedProof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What one N-EVENT-REPORT of storage commitment says (PS3.4 J.3.3)."""

    transaction_uid: str
    committed: tuple[str, ...]  #: SOP Instance UIDs that are safe there
    failed: Mapping[str, int]  #: SOP Instance UID to Failure Reason (0008,1197)


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationView:
    """One outbox row as an operator sees it."""

    kind: ObjectKind
    destination: str
    state: OutboxState
    attempt: int
    status: int | None  #: last DIMSE status
    error: str | None
    sop_instance_uid: str | None
    sent_at: datetime | None
    confirmed_at: datetime | None
    run_after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as an operator sees it; the keys of `--json` (DESIGN, section 8)."""

    job_id: int
    state: JobState
    outcome: Outcome | None
    reason: str | None
    sop_instance_uid: str
    study_instance_uid: str
    calling_ae: str
    attempt: int
    revision: int
    received_at: datetime
    updated_at: datetime
    bone_age_months: float | None
    interval_months: tuple[float, float] | None
    sex: str | None
    sex_source: str | None
    release: str
    destinations: tuple[DestinationView, ...]
    error: str | None  #: the last error in words
    result_folder: str | None
    timings_ms: dict[str, float]
    image_removed_at: datetime | None = None  #: when retention took the image that it reads
    result_removed_at: datetime | None = None  #: when retention took the files of its result

    @property
    def is_result_current(self) -> bool:
        """Say whether the result is what the last reading gave, and not of an earlier one."""
        return self.outcome is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One row of the audit trail."""

    event_id: int
    job_id: int | None  #: None: an event that belongs to no job
    at: datetime
    actor: str
    event: str  #: "received", "claimed", "settled", "sent", "requeued" …
    before: JobState | None
    after: JobState | None
    reason: str
    detail: dict[str, str | int | float | bool | None]
    previous_hash: str
    hash: str
