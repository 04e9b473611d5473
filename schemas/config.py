"""Every setting, checked once at the edge. ``config.toml`` explains each in a sentence.

Nothing that would change a diagnosis is a setting: that is in the release or the site profile.
"""

from collections import Counter
from dataclasses import dataclass
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

    url: str = ""  #: empty: SQLite at <storage root>/boneage.sqlite


class InferenceSection(_Section):
    """[inference] the worker that reads images."""

    devices: tuple[str, ...] = ("auto",)  #: "auto", "cpu", "cuda:0" …; one process for each
    release: str = ""  #: empty: the newest that ships
    threads: int = Field(default=0, ge=0, le=256)  #: 0: as many as cores
    lease_seconds: int = Field(default=120, ge=10, le=3600)
    attempts: int = Field(default=5, ge=1, le=20)
    first_retry_seconds: float = Field(default=5, gt=0, le=3600)
    poll_seconds: float = Field(default=0.2, gt=0, le=60)


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
    poll_seconds: float = Field(default=0.2, gt=0, le=60)


class ScheduleSection(_Section):
    """[schedule] the periodic jobs; all are idempotent and run in one place."""

    rescue_seconds: int = Field(default=15, ge=1, le=3600)
    seal_seconds: int = Field(default=5, ge=1, le=3600)
    backup_hours: float = Field(default=24, gt=0, le=720)
    backups_kept: int = Field(default=14, ge=1, le=1000)


class PredictSection(_Section):
    """[http.predict] images by HTTP: the interface of deeplasia-service, and an upload page."""

    enabled: bool = False
    require_token: bool = True
    device: str = Field(default="cpu", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    largest_upload_megabytes: int = Field(default=32, ge=1, le=512)


class HttpSection(_Section):
    """[http] health, metrics, status page and job list; loopback unless you say otherwise."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    token_file: Path | None = None  #: none: <storage root>/http.token, made at first start
    stalled_after_minutes: float = Field(default=15, gt=0, le=1440)
    predict: PredictSection = PredictSection()


class AuditSection(_Section):
    """[audit] the sealed trail."""

    key_file: Path | None = None  #: none: <storage root>/audit.key, made at first start
    anchor_file: Path | None = None  #: none: <storage root>/audit.anchor


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
    log: LogSection = LogSection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """Two settings that are each right and cannot both hold."""

    place: tuple[str | int, ...]  #: ("peer", 0, "destinations")
    message: str  #: what is wrong and how to mend it


def contradictions(config: Config) -> list[Contradiction]:
    """Return what single keys cannot show: names that point nowhere, doubles, crossed marks."""
    found = [*_ambiguous_peers(config), *_lost_destinations(config), *_half_tls(config)]
    if config.storage.low_mark_percent >= config.storage.high_mark_percent:
        message = "must be below high_mark_percent: receiving stops there and goes on here"
        found.append(Contradiction(place=("storage", "low_mark_percent"), message=message))
    return found


def _ambiguous_peers(config: Config) -> list[Contradiction]:
    found = []
    names = Counter(peer.name for peer in config.peer)
    titles = Counter(peer.ae_title for peer in config.peer if peer.destination)
    for index, peer in enumerate(config.peer):
        if names[peer.name] > 1:
            message = "another peer has this name; give each peer a name of its own"
            found.append(Contradiction(place=("peer", index, "name"), message=message))
        if peer.destination and titles[peer.ae_title] > 1:
            message = (
                "two destinations have this AE title, so a result would not know where to go; "
                "set destination = false for all but one, or name `destinations`"
            )
            found.append(Contradiction(place=("peer", index, "ae_title"), message=message))
    return found


def _half_tls(config: Config) -> list[Contradiction]:
    tls, place = config.listener.tls, ("listener", "tls")
    half: list[tuple[bool, tuple[str | int, ...], str]] = [
        (
            tls.enabled and (tls.certificate is None or tls.key is None),
            (*place, "enabled"),
            "needs both `certificate` and `key`",
        ),
        (
            tls.match_ae_title and tls.client_ca is None,
            (*place, "match_ae_title"),
            "needs `client_ca`: without it, no sender shows a certificate",
        ),
        (
            tls.enabled and tls.port == config.listener.port != 0,
            (*place, "port"),
            "is the plain port; leave it out, and TLS takes the place of the plain port",
        ),
        *(
            (
                peer.tls is not None and (peer.tls.certificate is None) != (peer.tls.key is None),
                ("peer", index, "tls"),
                "needs both `certificate` and `key`, or neither",
            )
            for index, peer in enumerate(config.peer)
        ),
    ]
    return [Contradiction(place=where, message=message) for is_so, where, message in half if is_so]


def _lost_destinations(config: Config) -> list[Contradiction]:
    known = {peer.name for peer in config.peer if peer.destination}
    named: list[tuple[tuple[str | int, ...], tuple[str, ...]]] = [
        *((("peer", i, "destinations"), peer.destinations) for i, peer in enumerate(config.peer)),
        *(
            (("intake", "rule", i, "destinations"), rule.destinations)
            for i, rule in enumerate(config.intake.rule)
        ),
    ]
    message = "names a peer that is not configured with destination = true; known: {}"
    return [
        Contradiction(place=place, message=message.format(", ".join(sorted(known)) or "none"))
        for place, destinations in named
        if not set(destinations) <= known
    ]
