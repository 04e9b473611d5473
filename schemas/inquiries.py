"""What an operator asks of the tables, and what she sees of a reception."""

from dataclasses import dataclass
from datetime import datetime

from schemas.jobs import JobEvent, JobState, ReceptionState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are meant; every field that is given must hold."""

    job_ids: tuple[int, ...] = ()
    states: tuple[JobState, ...] = ()
    since: datetime | None = None  #: received then or later
    until: datetime | None = None  #: received before
    study: str | None = None  #: Study Instance UID
    calling_ae: str | None = None
    release: str | None = None  #: name of the release that read it, or is to read it
    accession_hash: str | None = None  #: of any content under its UID
    patient_id_hash: str | None = None
    is_quarantined: bool = False  #: only those with a content that was set aside
    changed_since: datetime | None = None  #: and sorted by their last change, newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptionView:
    """One distinct content that arrived for a job, as an operator sees it."""

    reception_id: int
    state: ReceptionState
    received_at: datetime
    calling_ae: str
    peer_address: str
    transfer_syntax_uid: str
    size_bytes: int
    digest: str
    examined_at: datetime | None
    removed_at: datetime | None  #: when retention took its file


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHashes:
    """What stands in the tables of a patient: two keyed hashes; ``None``: the image has no such."""

    accession: str | None
    patient_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which lines of the audit trail are meant; every field that is given must hold."""

    since: datetime | None = None
    until: datetime | None = None  #: before
    job_id: int | None = None
    event: str | None = None  #: "requeued", "sent" …
    actor: str | None = None  #: "operator:anna"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSubject:
    """What the image of a job is, for an audit message; nobody's name, no ID."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    calling_ae: str
    peer_address: str
    patient_id_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEvent:
    """One event that can change no more, and its place in the sealed chain."""

    position: int
    sealed_at: datetime
    event: JobEvent
    subject: AuditSubject | None  #: none: it belongs to no job
