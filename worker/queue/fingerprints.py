"""What a row of a result says, as one digest: it stands in the audit trail beside the result."""

import hashlib

from schemas.tables import Result
from worker.queue.ledger import canonical

RESULT_DIGEST = "result_digest"


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


def _number(value: float | None) -> float | None:
    """Return a whole number as it comes back from the table."""
    return None if value is None else float(value)
