"""How an attempt ends: what every ending writes, whoever brings it about."""

from schemas.jobs import JobState
from schemas.tables import Job, Reception
from worker.queue.ledger import Detail, Ledger


def mark_examined(book: Ledger, job: Job) -> Reception:
    """Write down that inference is done with the content that the job was reading."""
    reception = book.session.get_one(Reception, job.reception_id)
    reception.examined_at = book.at
    return reception


def fail_job(book: Ledger, job: Job, *, code: str, message: str) -> None:
    """End a running job until an operator, or other content, moves it on."""
    mark_examined(book, job)
    job.reason, job.error = code, message
    detail: Detail = {"attempt": job.attempt, "error": message}
    book.move(job, after=JobState.FAILED, event="failed", reason=code, detail=detail)
    book.rest(job)
