"""Every setting, checked once at the edge. ``config.toml`` explains each in a sentence.

Nothing that would change a diagnosis is a setting: that is in the release or the site profile.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork

from schemas.jobs import ObjectKind

#: PS3.5 table 6.2-1, VR AE: printable ASCII without backslash, no blank at either end
AeTitle = Annotated[
    str,
    Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$"),
]


#: shown as "***", and may come from a file of its own: ``url_file`` in the place of ``url``
SECRET = "secret"  # noqa: S105 - a mark, not one
Secret = Annotated[str, SECRET]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SrClass(StrEnum):
    """The SR SOP classes that we can build from one content (PS3.4 B.5)."""

    COMPREHENSIVE_3D = "comprehensive_3d"
    COMPREHENSIVE = "comprehensive"
    ENHANCED = "enhanced"
    BASIC_TEXT = "basic_text"


class ListenerTlsSection(_Section):
    """[listener.tls] how senders are met; ``client_ca`` makes it mutual."""

    enabled: bool = False
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    match_ae_title: bool = False
    port: int | None = Field(default=None, ge=0, le=65535)  #: none: instead of the plain port


class PeerTlsSection(_Section):
    """[peer.tls] how a destination is called; without this table: without TLS."""

    ca: Path | None = None  #: none: the authorities that this machine trusts
    certificate: Path | None = None
    key: Path | None = None
    host_name: str = ""  #: name that its certificate must bear; empty: the peer's host


class ListenerSection(_Section):
    """[listener] the Storage and Verification SCP."""

    ae_title: AeTitle = "BONEAGE"
    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)
    maximum_pdu_size: int = Field(default=131072, ge=4096, le=131072)
    maximum_associations: int = Field(default=64, ge=1, le=1000)
    maximum_associations_by_address: int = Field(default=32, ge=1, le=1000)
    maximum_associations_by_calling_ae: int = Field(default=32, ge=1, le=1000)
    acse_timeout_seconds: float = Field(default=5, gt=0, le=300)
    dimse_timeout_seconds: float = Field(default=60, gt=0, le=3600)
    network_timeout_seconds: float = Field(default=120, gt=0, le=3600)
    message_timeout_seconds: float = Field(default=600, gt=0, le=86400)
    accept_unknown_calling_ae: bool = False
    largest_file_megabytes: int = Field(default=512, ge=1, le=16384)
    tls: ListenerTlsSection = ListenerTlsSection()


class CommitmentKind(StrEnum):
    """How a destination proves that it keeps what it took."""

    NONE = "none"  #: not at all: its answer to the C-STORE is all
    STORAGE_COMMITMENT = "storage_commitment"  #: by storage commitment (PS3.4 annex J)
    FIND = "find"  #: by C-FIND at IMAGE level


class PeerSection(_Section):
    """[[peer]] one application entity that sends to us, takes from us, or both."""

    name: str = Field(min_length=1, max_length=64)
    ae_title: AeTitle
    host: str = "127.0.0.1"
    port: int = Field(default=104, ge=1, le=65535)
    sender: bool = True
    #: whence it may send, single addresses or networks; empty: from anywhere
    addresses: tuple[IPvAnyNetwork, ...] = ()
    destination: bool = True
    #: names of peers that get the results of this sender; empty: this peer itself
    destinations: tuple[str, ...] = ()
    objects: tuple[ObjectKind, ...] = (ObjectKind.SR, ObjectKind.SC)
    sr_classes: tuple[SrClass, ...] = (SrClass.COMPREHENSIVE, SrClass.ENHANCED, SrClass.BASIC_TEXT)
    commitment: CommitmentKind = CommitmentKind.NONE
    find_when_silent: bool = False  #: look by C-FIND when the storage commitment does not come
    tls: PeerTlsSection | None = None


class RuleAction(StrEnum):
    """What an intake rule does with an image that matches."""

    READ = "read"
    IGNORE = "ignore"


class IntakeRule(_Section):
    """[[intake.rule]] first match wins; every condition that is given must hold."""

    name: str = Field(min_length=1, max_length=64)
    action: RuleAction = RuleAction.READ
    calling_ae: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ("CR", "DX")  #: Modality (0008,0060)
    for_processing: bool = False  #: also images that are FOR PROCESSING
    secondary_capture: bool = False  #: also Secondary Capture objects; their Modality counts too
    #: any of these in a study, series, procedure or requested-procedure description, case folded
    words: tuple[str, ...] = ()
    #: any of these as code value of such a procedure, as "value" or "scheme:value"
    codes: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()


#: Descriptions that name bone age in clinical use; words are compared after case folding.
BONE_AGE_WORDS = (
    "bone age",
    "boneage",
    "skeletal age",
    "skeletal maturity",
    "knochenalter",
    "skelettalter",
    "age osseux",
    "âge osseux",
    "edad osea",
    "edad ósea",
    "eta ossea",
    "età ossea",
    "idade ossea",
    "idade óssea",
    "botleeftijd",
    "skeletleeftijd",
    "骨年齢",
    "골연령",
    "骨龄",
)
BONE_AGE_CODES = ("LN:24724-7", "LN:85151-9", "C4:77072", "CPT4:77072")


class IntakeSection(_Section):
    """[intake] which images are read."""

    rule: tuple[IntakeRule, ...] = (
        IntakeRule(name="bone age", words=BONE_AGE_WORDS, codes=BONE_AGE_CODES),
    )


class StorageSection(_Section):
    """[storage] spool, results and everything else on disk."""

    root: Path = Path("var")
    high_mark_percent: float = Field(default=90, gt=0, le=100)
    low_mark_percent: float = Field(default=85, gt=0, le=100)


class DatabaseSection(_Section):
    """[database] the job table."""

    url: Secret = ""  #: empty: SQLite at <storage root>/boneage.sqlite


class Engine(StrEnum):
    """What runs the networks."""

    AUTO = "auto"  #: the fastest that is installed and gives PyTorch's answer
    TORCH = "torch"
    OPENVINO = "openvino"


class InferenceSection(_Section):
    """[inference] the worker that reads images."""

    #: "auto", "cpu", "cuda:0" …; one process for each
    devices: tuple[Device, ...] = Field(default=("auto",), min_length=1)
    release: str = ""  #: empty: the newest that ships
    engine: Engine = Engine.AUTO
    threads: int = Field(default=0, ge=0, le=256)  #: 0: as many as cores
    images_at_once: int = Field(default=0, ge=0, le=32)  #: 0: one on a CPU, eight on a GPU
    lease_seconds: int = Field(default=120, ge=10, le=3600)
    deadline_seconds: int = Field(default=900, ge=10, le=86400)
    attempts: int = Field(default=5, ge=1, le=20)
    first_retry_seconds: float = Field(default=5, gt=0, le=3600)
    poll_seconds: float = Field(default=0.05, gt=0, le=60)


class RefusalObjects(StrEnum):
    """What is sent when an image that a rule wanted cannot be read."""

    ALL = "all"
    NONE = "none"


class ReportSection(_Section):
    """[report] what goes back."""

    profile: Path | None = None  #: site profile; none: the built-in default
    refusals: RefusalObjects = RefusalObjects.ALL
    report_technical_failures: bool = True


class DeliverySection(_Section):
    """[delivery] bringing results to the PACS."""

    lease_seconds: int = Field(default=120, ge=10, le=3600)
    first_retry_seconds: float = Field(default=5, gt=0, le=3600)
    longest_retry_seconds: float = Field(default=900, gt=0, le=86400)
    give_up_after_days: float = Field(default=7, gt=0, le=60)
    connect_timeout_seconds: float = Field(default=10, gt=0, le=300)
    commitment_timeout_seconds: float = Field(default=1800, ge=1, le=86400)
    poll_seconds: float = Field(default=0.05, gt=0, le=60)


class ScheduleSection(_Section):
    """[schedule] the periodic jobs; all are idempotent and run in one place."""

    rescue_seconds: int = Field(default=15, ge=1, le=3600)
    seal_seconds: int = Field(default=5, ge=1, le=3600)
    backup_hours: float = Field(default=24, gt=0, le=720)
    backups_kept: int = Field(default=14, ge=1, le=1000)
    estimate_overdue_minutes: float = Field(default=15, gt=0, le=10080)
    deliver_overdue_minutes: float = Field(default=60, gt=0, le=10080)
    constancy_hours: float = Field(default=6, ge=0, le=168)  #: 0: never by itself
    echo_seconds: int = Field(default=60, ge=5, le=3600)


class PredictSection(_Section):
    """[http.predict] images by HTTP: the interface of deeplasia-service, and an upload page."""

    enabled: bool = False
    require_token: bool = True
    device: Device = "cpu"
    largest_upload_megabytes: int = Field(default=32, ge=1, le=512)


class HttpSection(_Section):
    """[http] health, metrics, status page and job list; loopback unless you say otherwise."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    token_file: Path | None = None  #: none: <storage root>/http.token, made at first start
    stalled_after_minutes: float = Field(default=15, gt=0, le=1440)
    predict: PredictSection = PredictSection()


class SyslogProtocol(StrEnum):
    """How audit messages travel; both are RFC 5424 with octet counting."""

    TLS = "tls"  #: RFC 5425
    TCP = "tcp"  #: RFC 6587: in the clear, for a relay on this machine


class SyslogSection(_Section):
    """[audit.syslog] the audit repository that gets every sealed event as a DICOM audit message."""

    host: str = ""  #: empty: nobody gets them
    port: int = Field(default=6514, ge=1, le=65535)  # RFC 5425, section 4.1
    protocol: SyslogProtocol = SyslogProtocol.TLS
    ca: Path | None = None  #: none: the authorities that this machine trusts
    certificate: Path | None = None
    key: Path | None = None
    host_name: str = ""  #: name that its certificate must bear; empty: ``host``


class AuditSection(_Section):
    """[audit] the sealed trail."""

    key_file: Path | None = None  #: none: <storage root>/audit.key, made at first start
    anchor_file: Path | None = None  #: none: <storage root>/audit.anchor
    syslog: SyslogSection = SyslogSection()


class RetentionSection(_Section):
    """[retention] when what is done with goes; 0: never. Nothing unfinished ever goes."""

    images_days: float = Field(default=90, ge=0, le=36500)
    ignored_days: float = Field(default=30, ge=0, le=36500)
    records_days: float = Field(default=0, ge=0, le=36500)


class MailSecurity(StrEnum):
    """How the mail server is met."""

    NONE = "none"  #: in the clear: a relay on this machine, or one that takes nothing else
    STARTTLS = "starttls"  #: in the clear until both agree on TLS; without TLS nothing is sent
    TLS = "tls"  #: TLS from the first byte


class EmailSection(_Section):
    """[notify.email] whom to write to; without a host nobody is."""

    host: str = ""
    port: int = Field(default=587, ge=1, le=65535)
    security: MailSecurity = MailSecurity.STARTTLS
    user: str = ""
    password: Secret = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()


class NotifySection(_Section):
    """[notify] what needs a person, by webhook and e-mail; never anything of a patient."""

    webhook_url: Secret = Field(default="", pattern=r"^$|^https?://\S+$")
    collect_seconds: float = Field(default=30, ge=1, le=3600)
    remind_hours: float = Field(default=24, gt=0, le=720)
    destination_down_minutes: float = Field(default=30, gt=0, le=10080)
    drift_months: float = Field(default=6, gt=0, le=120)
    email: EmailSection = EmailSection()


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSection(_Section):
    """[log] for operators; may be thrown away. The audit trail may not."""

    level: LogLevel = LogLevel.INFO
    json_lines: bool = False


class Config(_Section):
    """The whole of config.toml."""

    listener: ListenerSection = ListenerSection()
    peer: tuple[PeerSection, ...] = ()
    intake: IntakeSection = IntakeSection()
    storage: StorageSection = StorageSection()
    database: DatabaseSection = DatabaseSection()
    inference: InferenceSection = InferenceSection()
    report: ReportSection = ReportSection()
    delivery: DeliverySection = DeliverySection()
    schedule: ScheduleSection = ScheduleSection()
    http: HttpSection = HttpSection()
    audit: AuditSection = AuditSection()
    retention: RetentionSection = RetentionSection()
    notify: NotifySection = NotifySection()
    log: LogSection = LogSection()
