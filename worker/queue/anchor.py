"""The anchor: a file outside the database that names the head of the sealed trail."""

import hashlib
import hmac
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from schemas.audit import Seal
from schemas.errors import AuditAnchorError
from worker.files import write_durably
from worker.queue.ledger import canonical


def read_anchor(path: Path, *, key: bytes) -> Seal | None:
    """Return the head that the anchor names, or nothing if there is no anchor.

    Raises:
        AuditAnchorError: it is damaged, or another key sealed it.
        OSError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_bytes())
        stated = fields.pop("mac")
        if not hmac.compare_digest(stated, _mac(fields, key=key)):
            raise AuditAnchorError
        return Seal(**{**fields, "sealed_at": datetime.fromisoformat(fields["sealed_at"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise AuditAnchorError from error


def write_anchor(path: Path, head: Seal, *, key: bytes) -> None:
    """Write the head durably; its own MAC keeps the time in it honest.

    Raises:
        OSError: it cannot be written; the anchor that was there still stands.
    """
    sealed_at = head.sealed_at.astimezone(UTC).isoformat(timespec="microseconds")
    fields = {**asdict(head), "sealed_at": sealed_at}
    whole = {**fields, "mac": _mac(fields, key=key)}
    write_durably(path, f"{canonical(whole)}\n".encode())


def _mac(fields: dict[str, object], *, key: bytes) -> str:
    return hmac.new(key, canonical(fields).encode(), hashlib.sha256).hexdigest()
