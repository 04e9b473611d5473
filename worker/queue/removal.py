"""What retention has taken is not asked for again."""

from sqlalchemy.orm import Session

from schemas.errors import RemovedByRetentionError
from schemas.tables import Job, Reception
from worker.queue.results import current_result


def require_files(session: Session, job: Job, *, deliver_only: bool) -> None:
    """Return if the files that a requeue needs were not removed.

    Raises:
        RemovedByRetentionError: they were.
    """
    if not deliver_only:
        if session.get_one(Reception, job.reception_id).removed_at is not None:
            raise RemovedByRetentionError(job_id=job.id, what="image")
        return
    result = current_result(session, job)
    if result is not None and result.removed_at is not None:
        raise RemovedByRetentionError(job_id=job.id, what="result")
