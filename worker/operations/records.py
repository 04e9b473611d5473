"""The stable keys of ``--json`` (DESIGN, section 8): what a program may build upon."""

from typing import Any

from schemas.inquiries import ReceptionView
from schemas.jobs import DestinationView, JobEvent, JobView

Record = dict[str, Any]


def job_record(job: JobView) -> Record:
    """Return one job with the keys that every list of jobs has, in this order, for ever.

    The number is that of the current round: none while the image is read again, and none where that
    failed or no rule wants the image any more.
    """
    number = job.bone_age_months if job.is_result_current else None
    interval = job.interval_months if job.is_result_current else None
    return {
        "job_id": job.job_id,
        "state": job.state.value,
        "outcome": job.outcome.value if job.outcome else None,
        "reason": job.reason,
        "sop_instance_uid": job.sop_instance_uid,
        "study_instance_uid": job.study_instance_uid,
        "calling_ae": job.calling_ae,
        "attempt": job.attempt,
        "revision": job.revision,
        "received_at": job.received_at.isoformat(),
        "updated_at": job.updated_at.isoformat(),
        "bone_age_months": number,
        "interval_months": list(interval) if interval else None,
        "sex": job.sex,
        "sex_source": job.sex_source,
        "release": job.release,
        "destinations": [destination_record(one) for one in job.destinations],
    }


def destination_record(row: DestinationView) -> Record:
    """Return what one destination has got of one object."""
    return {
        "destination": row.destination,
        "kind": row.kind.value,
        "state": row.state.value,
        "attempt": row.attempt,
        "status": None if row.status is None else f"0x{row.status:04X}",
        "error": row.error,
        "sop_instance_uid": row.sop_instance_uid,
        "sent_at": row.sent_at.isoformat() if row.sent_at else None,
        "confirmed_at": row.confirmed_at.isoformat() if row.confirmed_at else None,
        "run_after": row.run_after.isoformat() if row.run_after else None,
    }


def reception_record(row: ReceptionView) -> Record:
    """Return one distinct content that arrived for a job."""
    return {
        "reception_id": row.reception_id,
        "state": row.state.value,
        "received_at": row.received_at.isoformat(),
        "calling_ae": row.calling_ae,
        "peer_address": row.peer_address,
        "transfer_syntax_uid": row.transfer_syntax_uid,
        "size_bytes": row.size_bytes,
        "digest": row.digest,
        "examined_at": row.examined_at.isoformat() if row.examined_at else None,
        "removed_at": row.removed_at.isoformat() if row.removed_at else None,
    }


def event_record(event: JobEvent) -> Record:
    """Return one row of the audit trail."""
    return {
        "event_id": event.event_id,
        "job_id": event.job_id,
        "at": event.at.isoformat(),
        "actor": event.actor,
        "event": event.event,
        "before": event.before.value if event.before else None,
        "after": event.after.value if event.after else None,
        "reason": event.reason,
        "detail": event.detail,
        "previous_hash": event.previous_hash,
        "hash": event.hash,
    }
