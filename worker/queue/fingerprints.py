"""What a row of a result says, as one digest: it stands in the audit trail beside the result."""

import hashlib
from collections.abc import Mapping

from schemas.tables import Result
from worker.queue.ledger import canonical

RESULT_DIGEST = "result_digest"
_FILE = "sha256 "


def result_digest(row: Result) -> str:
    """Return sha256 over all that a radiologist was told by this revision, hexadecimal."""
    fields = {
        "revision": row.revision,
        "reception_id": row.reception_id,
        "outcome": str(row.outcome.value),
        "reason": row.reason,
        "result_folder": row.result_folder,
        "release": row.release,
        "release_digest": row.release_digest,
        "profile_digest": row.profile_digest,
        "bone_age_months": _number(row.bone_age_months),
        "interval_low_months": _number(row.interval_low_months),
        "interval_high_months": _number(row.interval_high_months),
        "chronological_age_months": _number(row.chronological_age_months),
        "sex": row.sex,
        "sex_source": row.sex_source,
        "is_phantom": row.is_phantom,
    }
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def file_details(digests: Mapping[str, str]) -> dict[str, str]:
    """Return what an event says of files: the sha256 of each, by its name."""
    return {f"{_FILE}{name}": digest for name, digest in digests.items()}


def files_of(detail: Mapping[str, object]) -> dict[str, str]:
    """Return the sha256 of each file that an event speaks of, by its name."""
    return {
        name.removeprefix(_FILE): str(digest)
        for name, digest in detail.items()
        if name.startswith(_FILE)
    }


def _number(value: float | None) -> float | None:
    """Return a whole number as it comes back from the table."""
    return None if value is None else float(value)
