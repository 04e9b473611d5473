"""The canonical content of one revision of one result: everything that its objects say.

``infer`` writes it once as JSON beside the source header and the secondary capture; ``deliver``
builds the Structured Report from it. It holds no name, no ID and no birth date.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from schemas.assessments import Assessment, NoAssessment, SiteProfile
from schemas.estimates import BoneAgeEstimate, QualityFlag, ReleaseIdentity
from schemas.images import SourceImage
from schemas.jobs import FormerReport, ObjectKind, Outcome
from schemas.refusals import RefusalReason

SOFTWARE_NAME = "boneage-worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultContent:
    """What one release found in one image: an estimate, two, or a refusal."""

    outcome: Outcome
    source: SourceImage
    release: ReleaseIdentity
    profile: SiteProfile
    revision: int  #: 1 for the first; each later one names and supersedes the one before
    created_at: datetime  #: local time with its offset; the time that the objects carry
    software_version: str
    installation_id: str
    estimates: tuple[BoneAgeEstimate, ...] = ()  #: one; two where the sex is unknown; none: refused
    assessment: Assessment | None = None
    no_assessment: NoAssessment | None = None
    reason: RefusalReason | None = None
    reason_detail: str = ""  #: coded values and numbers only
    flags: tuple[QualityFlag, ...] = ()
    has_heatmap_object: bool = False  #: some destination gets the heatmap alone as well
    outline: tuple[tuple[float, float], ...] = ()  #: (column, row) of the source image as stored
    predecessors: tuple[FormerReport, ...] = ()  #: reports that this revision supersedes

    def to_json(self) -> bytes:
        """Return the content as UTF-8 JSON; equal contents give equal bytes."""
        return _ADAPTER.dump_json(self, indent=1)

    @staticmethod
    def from_json(text: bytes) -> "ResultContent":
        """Read what ``to_json`` wrote."""
        return _ADAPTER.validate_json(text)


_ADAPTER: TypeAdapter[ResultContent] = TypeAdapter(ResultContent)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultIdentity:
    """Everything that decides the bytes of one object."""

    installation_id: str
    source_sop_instance_uid: str
    release_digest: str
    profile_digest: str
    kind: str  #: "SR:<SOP class UID>", "SC", "SR-series", "SC-series", "tracking" …
    revision: int


def identity_of(content: ResultContent, *, kind: str) -> ResultIdentity:
    """Return the identity of one object of ``content``."""
    return ResultIdentity(
        installation_id=content.installation_id,
        source_sop_instance_uid=content.source.sop_instance_uid,
        release_digest=content.release.digest,
        profile_digest=content.profile.digest,
        kind=kind,
        revision=content.revision,
    )


#: how every UID of ours begins, and many of others: a UUID as a number (PS3.5 B.2)
UUID_ROOT = "2.25."


def output_uid(of: ResultIdentity) -> str:
    """Return the UID for this identity, in the ``2.25.`` form (PS3.5 B.2), at most 44 characters.

    Equal identities have equal bytes, for ever; anything that changes the bytes changes it.
    """
    parts = (
        of.installation_id,
        of.source_sop_instance_uid,
        of.release_digest,
        of.profile_digest,
        of.kind,
        str(of.revision),
    )
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return f"{UUID_ROOT}{int.from_bytes(digest[:16], 'big')}"


#: file names inside a result folder, relative to the storage root
CONTENT_FILE = "content.json"
HEADER_FILE = "header.dcm"  #: the source data set without its pixels
CAPTURE_FILE = "sc.dcm"
HEATMAP_FILE = "sc-heatmap.dcm"


def object_file(kind: ObjectKind, sop_class_uid: str) -> str:
    """Return the file name of one built object inside its result folder."""
    if kind is ObjectKind.SC:
        return CAPTURE_FILE
    if kind is ObjectKind.HEATMAP:
        return HEATMAP_FILE
    return f"sr-{sop_class_uid}.dcm"
