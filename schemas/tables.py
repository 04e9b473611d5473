"""The shape of the database. Only ``worker.queue`` reads and writes it; rows never leave there.

No name, no patient ID and no birth date stands in any of these tables. Indexes over a part of a
table are declared in ``schemas.partial_indexes``.
"""

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from schemas.jobs import JobState, ObjectKind, OutboxState, Outcome, ReceptionState

UID = String(64)  # VR UI, PS3.5 table 6.2-1
AE_TITLE = String(16)  # VR AE, PS3.5 table 6.2-1
DIGEST = String(64)  # sha256, hexadecimal
TOKEN = String(32)  # uuid4, hexadecimal
NAME = String(64)

#: a result that enters the drift figures: both ages are known
HAS_DIFFERENCE = "bone_age_months IS NOT NULL AND chronological_age_months IS NOT NULL"

#: an event with which a job ended without a result
IS_ENDING = "event IN ('failed', 'ignored')"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, UTC. SQLite drops the zone, so it is taken off and put back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return ``value`` in UTC; a naive time is refused, for nobody knows what it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise NaiveTimeError
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Return the time in UTC, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class NaiveTimeError(ValueError):
    """A time without a zone was about to be stored: a bug."""

    def __init__(self) -> None:
        super().__init__(
            "A time without a zone cannot be stored, because it means another moment on another "
            "host. Make it aware: datetime.now(tz=UTC)."
        )


def _by_value(kind: type[StrEnum], *, name: str) -> Enum:
    """Return a column type that stores the values of ``kind`` as text, held by a CHECK."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


class Table(DeclarativeBase):
    """What all tables share: named constraints, aware times, enums by value."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        datetime: UtcDateTime,
        float: Float,
        JobState: _by_value(JobState, name="state"),
        Outcome: _by_value(Outcome, name="outcome"),
        ObjectKind: _by_value(ObjectKind, name="kind"),
        OutboxState: _by_value(OutboxState, name="state"),
        ReceptionState: _by_value(ReceptionState, name="state"),
    }


class Installation(Table):
    """One row, made once: it enters every UID that this installation gives."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    installation_id: Mapped[str] = mapped_column(TOKEN)


class Reception(Table):
    """One distinct content that arrived, and the file that holds it."""

    __tablename__ = "receptions"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "digest"),
        Index(None, "study_instance_uid"),
        Index(None, "accession_hash"),
        Index(None, "patient_id_hash"),
        Index(None, "calling_ae", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    digest: Mapped[str] = mapped_column(DIGEST)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    study_instance_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    spool_file: Mapped[str] = mapped_column(String(255))
    calling_ae: Mapped[str] = mapped_column(AE_TITLE)
    called_ae: Mapped[str] = mapped_column(AE_TITLE)
    peer_address: Mapped[str] = mapped_column(NAME)
    received_at: Mapped[datetime]
    state: Mapped[ReceptionState]
    examined_at: Mapped[datetime | None]  #: when inference was done with it, whatever it found
    #: HMAC of what an operator may search for; the values themselves stand in the spool alone
    accession_hash: Mapped[str | None] = mapped_column(DIGEST)
    patient_id_hash: Mapped[str | None] = mapped_column(DIGEST)
    indexed_at: Mapped[datetime | None]  #: when the two hashes were reckoned, or could not be
    removed_at: Mapped[datetime | None]  #: when retention took the file from the spool


class Job(Table):
    """One SOP Instance and the release that reads it."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "release"),
        CheckConstraint("(state = 'running') = (claim_token IS NOT NULL)", name="claim"),
        CheckConstraint("(claim_token IS NULL) = (lease_ends_at IS NULL)", name="lease"),
        CheckConstraint("attempt >= 0", name="attempt"),
        CheckConstraint("revision >= 0", name="revision"),
        CheckConstraint("vanished >= 0", name="vanished"),
        Index(None, "state", "rank_at", "id"),
        Index(None, "received_at"),
        Index(None, "reception_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    release: Mapped[str] = mapped_column(NAME)
    state: Mapped[JobState]
    outcome: Mapped[Outcome | None]
    reason: Mapped[str | None] = mapped_column(Text)  #: why refused, ignored or failed, as a code
    error: Mapped[str | None] = mapped_column(Text)  #: the last error in words
    attempt: Mapped[int]
    revision: Mapped[int]  #: of the current result; 0: there is none yet
    #: the content that was read last, or is being read
    reception_id: Mapped[int] = mapped_column(ForeignKey("receptions.id"))
    run_after: Mapped[datetime]
    rank_at: Mapped[datetime]  #: of all that are due, the earliest goes first; see ``rank_of``
    vanished: Mapped[int]  #: how many workers ended without a word while they held it
    is_isolated: Mapped[bool]  #: too many did: it may only be refused, by its header
    claim_token: Mapped[str | None] = mapped_column(TOKEN)
    lease_ends_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Result(Table):
    """One revision of what a release found in an image; never changed, only superseded."""

    __tablename__ = "results"
    __table_args__ = (
        UniqueConstraint("job_id", "revision"),
        CheckConstraint("revision >= 1", name="revision"),
        Index(None, "reception_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    revision: Mapped[int]
    reception_id: Mapped[int] = mapped_column(ForeignKey("receptions.id"))
    outcome: Mapped[Outcome]
    reason: Mapped[str] = mapped_column(NAME)
    result_folder: Mapped[str] = mapped_column(String(255))
    release: Mapped[str] = mapped_column(NAME)
    release_digest: Mapped[str] = mapped_column(DIGEST)
    profile_digest: Mapped[str] = mapped_column(DIGEST)
    bone_age_months: Mapped[float | None]
    interval_low_months: Mapped[float | None]
    interval_high_months: Mapped[float | None]
    chronological_age_months: Mapped[float | None]  #: on the day of the image
    sex: Mapped[str | None] = mapped_column(String(1))
    sex_source: Mapped[str] = mapped_column(String(16))
    timings_ms: Mapped[str] = mapped_column(Text)  #: JSON object, step to milliseconds
    is_phantom: Mapped[bool]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]  #: when retention took the files of this revision


class Output(Table):
    """One object that we made; its UID tells our own work when it is routed back to us."""

    __tablename__ = "outputs"
    __table_args__ = (UniqueConstraint("sop_instance_uid"), Index(None, "result_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"))
    kind: Mapped[ObjectKind]
    sop_class_uid: Mapped[str] = mapped_column(UID)
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    created_at: Mapped[datetime]


class OutboxRow(Table):
    """One object owed to one destination."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("result_id", "kind", "destination"),
        CheckConstraint("(state = 'sending') = (claim_token IS NOT NULL)", name="claim"),
        CheckConstraint("(claim_token IS NULL) = (lease_ends_at IS NULL)", name="lease"),
        CheckConstraint("attempt >= 0", name="attempt"),
        Index(None, "state", "rank_at", "id"),
        Index(None, "destination", "sent_at"),
        Index(None, "destination", "state"),
        Index(None, "job_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"))
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"))
    kind: Mapped[ObjectKind]
    destination: Mapped[str] = mapped_column(NAME)
    state: Mapped[OutboxState]
    attempt: Mapped[int]
    #: waiting: when it may be sent; sent: when the destination is asked, or asked no longer
    run_after: Mapped[datetime]
    rank_at: Mapped[datetime]  #: that of its job
    owed_since: Mapped[datetime]  #: when it was last made owed; giving up is counted from here
    claim_token: Mapped[str | None] = mapped_column(TOKEN)
    lease_ends_at: Mapped[datetime | None]
    status: Mapped[int | None]  #: last DIMSE status
    error: Mapped[str | None] = mapped_column(Text)
    sop_instance_uid: Mapped[str | None] = mapped_column(UID)  #: what the destination took
    offered_uid: Mapped[str | None] = mapped_column(UID)  #: on the wire, not answered yet
    interrupted_uid: Mapped[str | None] = mapped_column(
        UID
    )  #: an earlier attempt's, never answered
    doubtful_tries: Mapped[int]  #: answers that seldom mend themselves
    #: the transaction under which storage commitment was asked for last
    commitment_uid: Mapped[str | None] = mapped_column(UID)
    commitment_rounds: Mapped[int]  #: how often proof was asked for since it was owed
    sent_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]


class CommitmentRow(Table):
    """One object in one request for storage commitment; kept, for reports may come late."""

    __tablename__ = "commitments"
    __table_args__ = (Index(None, "outbox_id"),)

    transaction_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    outbox_id: Mapped[int] = mapped_column(ForeignKey("outbox.id"), primary_key=True)
    asked_at: Mapped[datetime]


class PeerClass(Table):
    """What a peer said to a SOP class that we offered."""

    __tablename__ = "peer_classes"

    peer: Mapped[str] = mapped_column(NAME, primary_key=True)
    sop_class_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    is_accepted: Mapped[bool]
    learned_at: Mapped[datetime]


class JobEventRow(Table):
    """One line of the audit trail; rows are only ever added."""

    __tablename__ = "job_events"
    __table_args__ = (
        Index(None, "job_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(NAME)
    event: Mapped[str] = mapped_column(NAME)
    before: Mapped[JobState | None] = mapped_column(_by_value(JobState, name="before"))
    after: Mapped[JobState | None] = mapped_column(_by_value(JobState, name="after"))
    reason: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)  #: canonical JSON object
    previous_hash: Mapped[str] = mapped_column(DIGEST)  #: of the same job; "" at its first event
    hash: Mapped[str] = mapped_column(DIGEST)


class SealRow(Table):
    """One link of the sealed chain over all events, in the order of their numbers."""

    __tablename__ = "seals"
    __table_args__ = (UniqueConstraint("event_id"),)

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  #: 1, 2, 3 …
    #: no foreign key: the seal must outlive an event that somebody removes
    event_id: Mapped[int]
    event_hash: Mapped[str] = mapped_column(DIGEST)
    previous_seal: Mapped[str] = mapped_column(DIGEST)  #: "" at position 1
    seal: Mapped[str] = mapped_column(DIGEST)  #: HMAC-SHA256
    sealed_at: Mapped[datetime]


class TombstoneRow(Table):
    """What retention took out of the tables: which events are missing with good reason."""

    __tablename__ = "tombstones"

    id: Mapped[int] = mapped_column(primary_key=True)
    removed_at: Mapped[datetime]
    policy: Mapped[str] = mapped_column(NAME)  #: in words: "records after 3650 days"
    ranges: Mapped[str] = mapped_column(Text)  #: JSON: [[first event, last event], …]
    event_count: Mapped[int]
    job_count: Mapped[int]
    digest: Mapped[str] = mapped_column(DIGEST)  #: of the hashes of these events, in their order
    signature: Mapped[str] = mapped_column(DIGEST)  #: HMAC-SHA256 with the key of the seals


class RestingTotalsRow(Table):
    """One row: how many jobs had come to rest after an event; those who start count from there."""

    __tablename__ = "resting_totals"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[int]  #: no foreign key: retention may take the event
    tombstone_id: Mapped[int]  #: of the last there was; 0: none. After another one, this is void
    delivered: Mapped[int]
    ignored: Mapped[int]
    counted_at: Mapped[datetime]


class RetiredJob(Table):
    """A job whose rows are gone: should its image come again, its revisions are counted on."""

    __tablename__ = "retired_jobs"

    sop_instance_hash: Mapped[str] = mapped_column(DIGEST, primary_key=True)  #: sha256 of the UID
    revision: Mapped[int]  #: the last one: its UIDs are taken for ever


class AuditExportRow(Table):
    """How far the sealed trail was handed on to a receiver outside."""

    __tablename__ = "audit_exports"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)  #: "syslog"
    position: Mapped[int]  #: of the last seal whose event was handed on


class LeaderRow(Table):
    """Who leads something that must be done in one place; a lease, not a lock."""

    __tablename__ = "leaders"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)  #: "schedule"
    holder: Mapped[str] = mapped_column(NAME)
    lease_ends_at: Mapped[datetime]


class PeriodicRun(Table):
    """When a job of the schedule last came to a good end, and when it last did not."""

    __tablename__ = "periodic_runs"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)  #: "rescue", "seal" …
    succeeded_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]


class PeerEcho(Table):
    """What one destination answered to the last C-ECHO."""

    __tablename__ = "peer_echoes"

    peer: Mapped[str] = mapped_column(NAME, primary_key=True)
    is_up: Mapped[bool]
    since: Mapped[datetime]  #: when it came to be so
    checked_at: Mapped[datetime]
    found: Mapped[str] = mapped_column(Text)  #: what was wrong; empty: nothing


class NoticeRow(Table):
    """A trouble that people were told of; the row goes when the trouble does."""

    __tablename__ = "notices"

    key: Mapped[str] = mapped_column(String(128), primary_key=True)  #: "destination:pacs"
    title: Mapped[str] = mapped_column(Text)
    size: Mapped[int]  #: how large it was when it was told last
    since: Mapped[datetime]
    told_at: Mapped[datetime]


class NotificationRow(Table):
    """One message to people, kept until somebody has taken it."""

    __tablename__ = "notifications"

    id: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(NAME)
    body: Mapped[str] = mapped_column(Text)  #: as the channel understands it
    created_at: Mapped[datetime]
    attempt: Mapped[int]
    run_after: Mapped[datetime]
    error: Mapped[str | None] = mapped_column(Text)  #: why the last try failed
    sent_at: Mapped[datetime | None]
