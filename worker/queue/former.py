"""What the trail keeps of an image that retention has removed: its fingerprint."""

import json

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.retention import ImageFingerprint
from schemas.tables import Job, JobEventRow
from worker.queue.ledger import Detail
from worker.queue.results import current_result

REMOVED = "files_removed"
_PIXELS, _FACTS, _RECEPTION = "pixels_sha256", "facts_hmac", "reception_id"


def fingerprint_details(reception_id: int, kept: ImageFingerprint) -> Detail:
    """Return what the event of the removal says of the image."""
    return {_RECEPTION: reception_id, _PIXELS: kept.pixels, _FACTS: kept.facts}


def former_fingerprint(session: Session, job_id: int) -> ImageFingerprint | None:
    """Return what is kept of the image that the current result of a job was made from."""
    job = session.get(Job, job_id)
    result = None if job is None else current_result(session, job)
    if result is None:
        return None
    details = session.scalars(
        sa.select(JobEventRow.detail)
        .where(JobEventRow.job_id == job_id, JobEventRow.event == REMOVED)
        .order_by(JobEventRow.id.desc())
    )
    for text in details:
        detail = json.loads(text)
        if detail.get(_RECEPTION) == result.reception_id:
            return ImageFingerprint(pixels=detail[_PIXELS], facts=detail[_FACTS])
    return None
