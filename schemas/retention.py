"""When what is done with may go, and what a round of retention found and did."""

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """How long things are kept after their job came to rest; ``None``: for ever."""

    images: timedelta | None
    ignored: timedelta | None
    records: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFingerprint:
    """Enough of an image to know it again when its file is gone."""

    pixels: str  #: sha256 of the stored values, hexadecimal
    facts: str  #: HMAC of what the result says of the patient and of how the values are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionReport:
    """What is due, or what was removed."""

    jobs: int = 0  #: whose images and results go
    files: int = 0
    size_bytes: int = 0
    records_of_jobs: int = 0
    events: int = 0
    orphan_files: int = 0
    orphan_folders: int = 0
    failed: int = 0  #: jobs whose files the disk did not let go
    #: why jobs that are old enough are kept all the same, by reason
    held: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """One removal of rows, as the signed tombstone says."""

    tombstone_id: int
    removed_at: str  #: ISO 8601, UTC
    policy: str
    ranges: tuple[tuple[int, int], ...]  #: of event numbers, first and last
    event_count: int
    job_count: int
    digest: str
    signature: str
