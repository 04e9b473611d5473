"""The rows of the outbox: lock one, put it back, end its claim, write its line in the trail."""

from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy.orm import Session

from schemas.errors import UnknownDestinationError
from schemas.jobs import JobState, OutboxState
from schemas.tables import Job, OutboxRow, Result
from worker.queue.fingerprints import file_details
from worker.queue.ledger import Ledger

#: an operator may let these go out again
_OVER = (OutboxState.CONFIRMED, OutboxState.FAILED, OutboxState.CANCELLED)
#: these wait for something that only the deliverer of their destination does
_WAITS = (OutboxState.WAITING, OutboxState.SENT)


def locked_row(book: Ledger, row_id: int) -> OutboxRow:
    """Return the row, locked until the transaction ends. Its job must be locked before."""
    return book.session.get_one(OutboxRow, row_id, with_for_update=True, populate_existing=True)


def put_back(book: Ledger, row: OutboxRow, job: Job, *, run_after: datetime) -> None:
    """Let the object wait; if its job was stopped or has a newer revision, it is not sent."""
    result = book.session.get_one(Result, row.result_id)
    is_owed = job.state is JobState.DELIVERING and result.revision == job.revision
    row.run_after = run_after
    end_claim(row, state=OutboxState.WAITING if is_owed else OutboxState.CANCELLED)


def end_claim(row: OutboxRow, *, state: OutboxState) -> None:
    """Move a row on, and let nobody hold it."""
    row.state, row.claim_token, row.lease_ends_at = state, None, None


def give_up_row(book: Ledger, row: OutboxRow, job: Job, *, error: str) -> None:
    """Fail one object until an operator asks for it; the others still go."""
    row.error = error
    job.error = f"{row.destination}: {error}"
    end_claim(row, state=OutboxState.FAILED)
    note_row(book, row, event="send_failed")
    book.conclude(job)


def note_row(
    book: Ledger,
    row: OutboxRow,
    *,
    event: str,
    reason: str | None = None,
    digests: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the line that says what became of an object; ``reason`` None: its error, if any."""
    book.session.flush()
    book.note(
        row.job_id,
        event=event,
        reason=(row.error or "") if reason is None else reason,
        detail={
            "kind": row.kind.value,
            "destination": row.destination,
            "attempt": row.attempt,
            "status": row.status,
            "sop_instance_uid": row.sop_instance_uid,
            **file_details(digests),
        },
    )


def owe_again(book: Ledger, *, result_id: int) -> bool:
    """Let the same bytes go out again: what was given up, else everything; say if there is any."""
    rows = book.session.scalars(
        sa.select(OutboxRow)
        .where(OutboxRow.result_id == result_id, OutboxRow.state.in_(_OVER))
        .with_for_update()
    ).all()
    given_up = [row for row in rows if row.state is not OutboxState.CONFIRMED]
    for row in given_up or rows:
        row.state = OutboxState.WAITING
        row.attempt = row.doubtful_tries = row.commitment_rounds = 0
        row.run_after = row.owed_since = row.rank_at = book.at
        row.status = row.error = row.confirmed_at = row.commitment_uid = None
    book.session.flush()
    return bool(rows)


def cancel_rows(book: Ledger, *, job_id: int) -> None:
    """Stop what has not left yet, or is not proved; a row being sent is decided by its answer."""
    book.session.execute(
        sa.update(OutboxRow)
        .where(OutboxRow.job_id == job_id, OutboxRow.state.in_(_WAITS))
        .values(state=OutboxState.CANCELLED)
    )


def count_without_destination(session: Session, known: Collection[str]) -> dict[str, int]:
    """Return how many objects wait for each destination that is not among ``known``."""
    found = session.execute(
        sa.select(OutboxRow.destination, sa.func.count())
        .where(OutboxRow.state.in_(_WAITS), OutboxRow.destination.not_in(known))
        .group_by(OutboxRow.destination)
    ).all()
    return {row[0]: row[1] for row in found}


def fail_without_destination(book: Ledger, known: Collection[str]) -> int:
    """Fail what waits for a destination that nobody delivers to; return how many objects."""
    names = book.session.scalars(
        sa.select(OutboxRow.destination)
        .where(OutboxRow.state.in_(_WAITS), OutboxRow.destination.not_in(known))
        .distinct()
    ).all()
    return sum(
        fail_waiting(
            book,
            sa.and_(OutboxRow.state.in_(_WAITS), OutboxRow.destination == name),
            error=str(UnknownDestinationError(destination=name)),
        )
        for name in names
    )


def fail_waiting(book: Ledger, fits: sa.ColumnElement[bool], *, error: str) -> int:
    """Fail what waits and fits, until an operator asks for it; return how many objects."""
    found = book.session.execute(
        sa.select(OutboxRow.id, OutboxRow.job_id)
        .where(fits)
        .order_by(OutboxRow.job_id, OutboxRow.id)
    ).all()
    failed = 0
    for row_id, job_id in found:
        job = book.job(job_id)
        row = locked_row(book, row_id)
        if row.state in _WAITS:
            give_up_row(book, row, job, error=error)
            failed += 1
    return failed
