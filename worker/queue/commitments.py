"""Proof that a destination keeps what it took: asked for, given, refused, or never given.

A row that was sent waits for its proof until ``run_after``; then somebody acts: asks, asks
otherwise, or sends again. Every request has a transaction UID of its own. The requests are kept,
so that a report that comes late, or twice, is still understood.
"""

import uuid
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.jobs import CommitmentReport, CommitmentRequest, OutboxState, OwedProof
from schemas.tables import CommitmentRow, Job, OutboxRow, Output, Result
from worker.queue.database import reading, time_of
from worker.queue.ledger import Ledger, ledger
from worker.queue.rows import end_claim, give_up_row, locked_row, note_row, put_back

#: objects in one request: a few kilobytes, which every archive takes
MOST_PER_REQUEST = 50


class Commitments:
    """All that delivery and listener know of proofs. Threads may share it."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime], actor: str) -> None:
        """``actor`` stands in the audit trail."""
        self._engine = engine
        self._now = now
        self._actor = actor

    def due(self, destination: str) -> tuple[OwedProof, ...]:
        """Return the objects there for which something is to be done now, oldest first."""
        with reading(self._engine) as session:
            at = time_of(session, self._now)
            return _proofs(session, _is_due(destination, at))

    def begin(self, destination: str, *, patience: timedelta) -> CommitmentRequest | None:
        """Write down that we ask for the objects that are due and not asked for; nothing: None.

        This comes before the request goes out, for the report may be faster than its answer. If
        the request never goes out, the objects are due again when ``patience`` ends.

        Args:
            destination: name of a peer.
            patience: how long the report may take; it doubles with each further round, and is a
                day at most.
        """
        with self._ledger() as book:
            open_rows = sa.and_(_is_due(destination, book.at), OutboxRow.commitment_uid.is_(None))
            proofs = _proofs(book.session, open_rows)
            transaction_uid = f"2.25.{uuid.uuid4().int}"
            asked = []
            for proof in proofs:
                book.job(proof.job_id)
                row = locked_row(book, proof.outbox_id)
                if row.state is OutboxState.SENT and row.commitment_uid is None:
                    row.commitment_uid = transaction_uid
                    row.commitment_rounds += 1
                    row.run_after = book.at + _longer(patience, rounds=row.commitment_rounds)
                    asked.append(proof)
            book.session.add_all(
                CommitmentRow(
                    transaction_uid=transaction_uid, outbox_id=each.outbox_id, asked_at=book.at
                )
                for each in asked
            )
        if not asked:
            return None
        return CommitmentRequest(transaction_uid=transaction_uid, proofs=tuple(asked))

    def put_off(self, request: CommitmentRequest, *, delay: timedelta, error: str) -> None:
        """Ask again later: the destination did not take the request."""
        with self._ledger() as book:
            for proof in request.proofs:
                row = locked_row(book, proof.outbox_id)
                if row.commitment_uid == request.transaction_uid and _is_unproved(row):
                    row.commitment_uid, row.error = None, error
                    row.commitment_rounds -= 1
                    row.run_after = book.at + delay

    def settle(
        self, report: CommitmentReport, *, destinations: Collection[str], delay: timedelta
    ) -> int:
        """Take a report; return how many objects it moved. Late and twice are harmless.

        Args:
            report: what the peer says.
            destinations: names of the peers that it may speak for; nobody proves for another.
            delay: how long an object that is not kept waits before it is sent again.
        """
        with self._ledger() as book:
            found = book.session.execute(
                sa.select(OutboxRow.id, OutboxRow.job_id)
                .join(CommitmentRow, CommitmentRow.outbox_id == OutboxRow.id)
                .where(
                    CommitmentRow.transaction_uid == report.transaction_uid,
                    OutboxRow.destination.in_(destinations),
                )
                .order_by(OutboxRow.job_id, OutboxRow.id)
            ).all()
            moved = 0
            for row_id, job_id in found:
                job = book.job(job_id)
                moved += _settle(book, locked_row(book, row_id), job, report, delay=delay)
            return moved

    def confirm(self, proof: OwedProof, *, how: str) -> None:
        """Write down that the destination keeps the object; ``how`` stands in the trail."""
        with self._ledger() as book:
            job = book.job(proof.job_id)
            row = locked_row(book, proof.outbox_id)
            if _is_unproved(row):
                _confirm(book, row, job, how=how)

    def look_again(self, proof: OwedProof, *, delay: timedelta, error: str) -> None:
        """Let an object that was not found yet be looked for again; ``error`` "": nothing wrong."""
        with self._ledger() as book:
            row = locked_row(book, proof.outbox_id)
            if _is_unproved(row):
                row.run_after = book.at + delay
                row.commitment_rounds += 1
                row.error = error or None

    def send_again(self, proof: OwedProof, *, delay: timedelta, error: str) -> None:
        """Send the same bytes again: there is no proof that the destination keeps them."""
        with self._ledger() as book:
            job = book.job(proof.job_id)
            row = locked_row(book, proof.outbox_id)
            if _is_unproved(row):
                _send_again(book, row, job, delay=delay, error=error)

    def give_up(self, proof: OwedProof, *, error: str) -> None:
        """Fail the object until an operator asks for it."""
        with self._ledger() as book:
            job = book.job(proof.job_id)
            row = locked_row(book, proof.outbox_id)
            if _is_unproved(row):
                give_up_row(book, row, job, error=error)

    def _ledger(self) -> AbstractContextManager[Ledger]:
        return ledger(self._engine, now=self._now, actor=self._actor)


def _settle(
    book: Ledger, row: OutboxRow, job: Job, report: CommitmentReport, *, delay: timedelta
) -> bool:
    """Move one object as the report says; say whether it did."""
    uid = row.sop_instance_uid or ""
    if uid in report.committed:
        # also one that waits to be sent again, because this report was late
        is_moved = _is_unproved(row) or (
            row.state is OutboxState.WAITING and row.commitment_uid is not None
        )
        if is_moved:
            _confirm(book, row, job, how="storage commitment")
        return is_moved
    reason = report.failed.get(uid)
    if reason is None or not _is_unproved(row) or row.commitment_uid != report.transaction_uid:
        return False  # of an older request: the newer one decides
    error = (
        f"It took the object, but does not keep it (storage commitment: 0x{reason:04X}). The same "
        "bytes are sent again by themselves; if this lasts, look at its log."
    )
    _send_again(book, row, job, delay=_longer(delay, rounds=row.commitment_rounds), error=error)
    return True


def _confirm(book: Ledger, row: OutboxRow, job: Job, *, how: str) -> None:
    row.error, row.confirmed_at = None, book.at
    end_claim(row, state=OutboxState.CONFIRMED)
    note_row(book, row, event="confirmed", reason=how)
    book.conclude(job)


def _send_again(book: Ledger, row: OutboxRow, job: Job, *, delay: timedelta, error: str) -> None:
    row.error = error
    put_back(book, row, job, run_after=book.at + delay)
    note_row(book, row, event="send_again")
    book.conclude(job)


def _is_unproved(row: OutboxRow) -> bool:
    return row.state is OutboxState.SENT


def _longer(span: timedelta, *, rounds: int) -> timedelta:
    """Return ``span``, doubled for each round after the first; a day at most."""
    doubled: timedelta = span * 2.0 ** min(max(rounds - 1, 0), 20)
    return min(doubled, max(span, timedelta(days=1)))


def _is_due(destination: str, at: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(
        OutboxRow.destination == destination,
        OutboxRow.state == OutboxState.SENT,
        OutboxRow.run_after <= at,
    )


def _proofs(session: Session, fits: sa.ColumnElement[bool]) -> tuple[OwedProof, ...]:
    found = session.execute(
        sa.select(OutboxRow, Output.sop_class_uid, Result.result_folder)
        .join(Output, Output.sop_instance_uid == OutboxRow.sop_instance_uid)
        .join(Result, Result.id == OutboxRow.result_id)
        .where(fits)
        .order_by(OutboxRow.job_id, OutboxRow.id)
        .limit(MOST_PER_REQUEST)
    ).all()
    return tuple(
        OwedProof(
            outbox_id=row.id,
            job_id=row.job_id,
            kind=row.kind,
            destination=row.destination,
            result_folder=folder,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=row.sop_instance_uid or "",
            sent_at=row.sent_at or row.owed_since,
            owed_since=row.owed_since,
            rounds=row.commitment_rounds,
            is_asked=row.commitment_uid is not None,
        )
        for row, sop_class_uid, folder in found
    )
