"""How an attempt ends: what every ending writes, whoever brings it about."""

from collections.abc import Sequence

import sqlalchemy as sa

from schemas.jobs import JobState, NewResult
from schemas.tables import Job, Reception, Result
from worker.queue.fingerprints import RESULT_DIGEST, file_details, result_digest
from worker.queue.ledger import Detail, Ledger, Move
from worker.queue.results import add_results


def settle_jobs(book: Ledger, settled: Sequence[tuple[Job, NewResult]]) -> None:
    """End the attempts of running jobs with their results; the same few statements for all."""
    if not settled:
        return
    book.session.execute(
        sa.update(Reception)
        .where(Reception.id.in_([job.reception_id for job, _ in settled]))
        .values(examined_at=book.at)
        .execution_options(synchronize_session=False)
    )
    rows = add_results(book, settled)
    for job, new in settled:
        job.outcome, job.reason, job.error = new.outcome, new.reason or None, new.error or None
    book.move_all(_settled(job, new, row) for (job, new), row in zip(settled, rows, strict=True))
    for job, new in settled:
        if not new.orders:  # else something is still on its way
            book.conclude(job)


def _settled(job: Job, new: NewResult, row: Result) -> Move:
    return Move(
        job=job,
        after=JobState.DELIVERING,
        event="settled",
        reason=new.reason or new.outcome,
        detail={
            "revision": row.revision,
            "orders": len(new.orders),
            RESULT_DIGEST: result_digest(row),
            **file_details(new.digests),
        },
    )


def mark_examined(book: Ledger, job: Job) -> Reception:
    """Write down that inference is done with the content that the job was reading."""
    reception = book.session.get_one(Reception, job.reception_id)
    reception.examined_at = book.at
    return reception


def fail_job(book: Ledger, job: Job, *, code: str, message: str) -> None:
    """End a running job until an operator, or other content, moves it on."""
    mark_examined(book, job)
    job.outcome, job.reason, job.error = None, code, message
    detail: Detail = {"attempt": job.attempt, "error": message}
    book.move(job, after=JobState.FAILED, event="failed", reason=code, detail=detail)
    book.rest(job)
