"""The revisions of a job's result: write one, find the current one, name what it supersedes."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.jobs import (
    FormerReport,
    NewOutput,
    NewResult,
    ObjectKind,
    OutboxOrder,
    OutboxState,
)
from schemas.tables import Job, OutboxRow, Output, Result
from worker.queue.dialect import insert_or_ignore, plain
from worker.queue.ledger import Ledger, canonical

_RESULTS = plain(Result)
_INSERT_RESULTS = sa.insert(_RESULTS).returning(_RESULTS.c.id, sort_by_parameter_order=True)
_INSERT_ROWS = sa.insert(plain(OutboxRow))


def current_result(session: Session, job: Job) -> Result | None:
    """Return the newest revision, if the job was ever settled with one."""
    return session.scalars(
        sa.select(Result).where(Result.job_id == job.id, Result.revision == job.revision)
    ).one_or_none()


def add_results(book: Ledger, settled: Sequence[tuple[Job, NewResult]]) -> list[Result]:
    """Write the next revision of several jobs, its objects and what is owed to whom.

    Returns:
        What was written, in the same order; not part of the session.
    """
    values = [_values(book, job, new) for job, new in settled]
    ids = book.session.scalars(_INSERT_RESULTS, values).all()
    outputs, rows = [], []
    for result_id, (job, new) in zip(ids, settled, strict=True):
        outputs += [_output(book, each, result_id=result_id) for each in new.outputs]
        rows += [_owed(book, each, job, result_id=result_id) for each in new.orders]
    if outputs:
        book.session.execute(insert_or_ignore(book.session, Output), outputs)
    if rows:
        book.session.execute(_INSERT_ROWS, rows)
    for job, _ in settled:
        job.revision += 1
    return [Result(**each) for each in values]


def _values(book: Ledger, job: Job, new: NewResult) -> dict[str, object]:
    low, high = new.interval_months or (None, None)
    return {
        "job_id": job.id,
        "revision": job.revision + 1,
        "reception_id": job.reception_id,
        "outcome": new.outcome,
        "reason": new.reason,
        "result_folder": new.result_folder,
        "release": job.release,
        "release_digest": new.release_digest,
        "profile_digest": new.profile_digest,
        "bone_age_months": new.bone_age_months,
        "interval_low_months": low,
        "interval_high_months": high,
        "chronological_age_months": new.chronological_age_months,
        "sex": new.sex,
        "sex_source": new.sex_source,
        "timings_ms": canonical(new.timings_ms),
        "is_phantom": new.is_phantom,
        "created_at": book.at,
    }


def _owed(book: Ledger, order: OutboxOrder, job: Job, *, result_id: int) -> dict[str, object]:
    return {
        "job_id": job.id,
        "result_id": result_id,
        "kind": order.kind,
        "destination": order.destination,
        "state": OutboxState.WAITING,
        "attempt": 0,
        "run_after": book.at,
        "rank_at": job.rank_at,
        "owed_since": book.at,
        "doubtful_tries": 0,
        "commitment_rounds": 0,
    }


def add_output(book: Ledger, output: NewOutput, *, result_id: int) -> None:
    """Write down one object of a result; again is harmless, for its UID names its bytes."""
    book.session.execute(
        insert_or_ignore(book.session, Output), [_output(book, output, result_id=result_id)]
    )


def _output(book: Ledger, output: NewOutput, *, result_id: int) -> dict[str, object]:
    return {
        "result_id": result_id,
        "kind": output.kind,
        "sop_class_uid": output.sop_class_uid,
        "sop_instance_uid": output.sop_instance_uid,
        "created_at": book.at,
    }


def superseded_reports(session: Session, job_id: int) -> tuple[FormerReport, ...]:
    """Return the reports that the next revision supersedes, oldest first.

    These are those of the newest revision that some destination took, and any built after it: one
    that was sent without an answer may have been stored all the same.
    """
    reports = session.execute(
        sa.select(Output, Result)
        .join(Result, Result.id == Output.result_id)
        .where(Result.job_id == job_id, Output.kind == ObjectKind.SR)
        .order_by(Result.revision, Output.id)
    ).all()
    taken = _taken(session, job_id)
    revisions = [result.revision for output, result in reports if output.sop_instance_uid in taken]
    since = max(revisions, default=0)
    return tuple(
        FormerReport(
            sop_class_uid=output.sop_class_uid,
            sop_instance_uid=output.sop_instance_uid,
            revision=result.revision,
            release_digest=result.release_digest,
            profile_digest=result.profile_digest,
        )
        for output, result in reports
        if result.revision >= since
    )


def _taken(session: Session, job_id: int) -> set[str | None]:
    rows: Iterable[str | None] = session.scalars(
        sa.select(OutboxRow.sop_instance_uid).where(
            OutboxRow.job_id == job_id, OutboxRow.sent_at.is_not(None)
        )
    )
    return set(rows)
