"""The outbox: objects owed to destinations, claimed and sent one by one."""

import uuid
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session, aliased

from schemas.errors import LeaseLostError
from schemas.jobs import JobState, NewOutput, OutboxClaim, OutboxState
from schemas.tables import Job, OutboxRow, PeerClass, Result
from worker.queue.database import reading
from worker.queue.ledger import Ledger, ledger
from worker.queue.results import add_output

_OVER = (OutboxState.CONFIRMED, OutboxState.FAILED, OutboxState.CANCELLED)


class Outbox:
    """All that delivery knows of the database. It holds no session, so threads may share it."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime], actor: str) -> None:
        """``actor`` stands in the audit trail."""
        self._engine = engine
        self._now = now
        self._actor = actor

    def claim(self, *, lease: timedelta, destinations: Collection[str]) -> OutboxClaim | None:
        """Take the oldest object that is due for one of ``destinations``, or nothing."""
        with self._ledger() as book:
            row_id = book.session.scalar(
                sa.update(OutboxRow)
                .where(
                    OutboxRow.id == _oldest_due(book.at, destinations),
                    OutboxRow.state == OutboxState.WAITING,
                )
                .values(
                    state=OutboxState.SENDING,
                    attempt=OutboxRow.attempt + 1,
                    claim_token=uuid.uuid4().hex,
                    lease_ends_at=book.at + lease,
                )
                .returning(OutboxRow.id)
                .execution_options(synchronize_session=False)
            )
            if row_id is None:
                return None
            return _claim_of(book.session, book.session.get_one(OutboxRow, row_id))

    def renew(self, claim: OutboxClaim, *, lease: timedelta) -> OutboxClaim:
        """Give a sign of life.

        Raises:
            LeaseLostError: somebody else sends this object now; stop.
        """
        with self._ledger() as book:
            row, _ = _held(book, claim)
            row.lease_ends_at = book.at + lease
            return _claim_of(book.session, row)

    def release(self, claim: OutboxClaim) -> None:
        """Give the object back at a clean stop; it costs no attempt."""
        with self._ledger() as book:
            row, job = _held(book, claim)
            row.attempt -= 1
            _put_back(book, row, job, run_after=book.at)

    def record_output(self, claim: OutboxClaim, output: NewOutput) -> None:
        """Write down an object that was built for this claim, before it is sent; idempotent."""
        with self._ledger() as book:
            row, _ = _held(book, claim)
            add_output(book, output, result_id=row.result_id)

    def mark_sent(
        self, claim: OutboxClaim, *, sop_instance_uid: str, status: int, is_confirmed: bool = True
    ) -> None:
        """Write down that the destination took the object; the last one ends the job.

        Args:
            claim: the right to say so.
            sop_instance_uid: of the object that was taken.
            status: DIMSE status of the answer.
            is_confirmed: nothing more is owed to us; otherwise ``confirm`` must follow.
        """
        with self._ledger() as book:
            row, job = _held(book, claim)
            row.sop_instance_uid, row.status, row.error = sop_instance_uid, status, None
            row.sent_at = book.at
            row.confirmed_at = book.at if is_confirmed else None
            _end_claim(row, state=OutboxState.CONFIRMED if is_confirmed else OutboxState.SENT)
            _note(book, row, event="sent")
            book.conclude(job)

    def confirm(self, *, destination: str, sop_instance_uid: str) -> bool:
        """Write down that a destination has committed itself; say whether it owed us that."""
        with self._ledger() as book:
            found = book.session.execute(
                sa.select(OutboxRow.id, OutboxRow.job_id).where(
                    OutboxRow.destination == destination,
                    OutboxRow.sop_instance_uid == sop_instance_uid,
                    OutboxRow.state == OutboxState.SENT,
                )
            ).one_or_none()
            if found is None:
                return False
            job = book.job(found.job_id)
            row = _locked(book, found.id)
            if row.state is not OutboxState.SENT:
                return False
            row.state, row.confirmed_at = OutboxState.CONFIRMED, book.at
            _note(book, row, event="confirmed")
            book.conclude(job)
            return True

    def retry(
        self, claim: OutboxClaim, *, delay: timedelta, status: int | None, error: str
    ) -> None:
        """Put the object back for later."""
        with self._ledger() as book:
            row, job = _held(book, claim)
            row.status, row.error = status, error
            _put_back(book, row, job, run_after=book.at + delay)
            _note(book, row, event="send_retry")

    def fail(self, claim: OutboxClaim, *, status: int | None, error: str) -> None:
        """Give the object up until an operator asks for it; the others still go."""
        with self._ledger() as book:
            row, job = _held(book, claim)
            row.status, row.error = status, error
            job.error = f"{row.destination}: {error}"
            _end_claim(row, state=OutboxState.FAILED)
            _note(book, row, event="send_failed")
            book.conclude(job)

    def remember_peer(self, peer: str, *, sop_class_uid: str, is_accepted: bool) -> None:
        """Keep what a peer said to a SOP class; the newest answer counts."""
        with self._ledger() as book:
            book.lock(f"peer {peer}")
            book.session.merge(
                PeerClass(
                    peer=peer,
                    sop_class_uid=sop_class_uid,
                    is_accepted=is_accepted,
                    learned_at=book.at,
                )
            )

    def accepted_classes(self, peer: str) -> dict[str, bool]:
        """Return what a peer said to each SOP class that it was ever offered."""
        known = sa.select(PeerClass.sop_class_uid, PeerClass.is_accepted)
        with reading(self._engine) as session:
            rows = session.execute(known.where(PeerClass.peer == peer)).all()
        return {row.sop_class_uid: row.is_accepted for row in rows}

    def _ledger(self) -> AbstractContextManager[Ledger]:
        return ledger(self._engine, now=self._now, actor=self._actor)


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
        row.attempt = 0
        row.run_after = row.owed_since = book.at
        row.status = row.error = row.confirmed_at = None
    book.session.flush()
    return bool(rows)


def cancel_rows(book: Ledger, *, job_id: int) -> None:
    """Stop what has not left yet; a row being sent is decided by its answer."""
    book.session.execute(
        sa.update(OutboxRow)
        .where(OutboxRow.job_id == job_id, OutboxRow.state == OutboxState.WAITING)
        .values(state=OutboxState.CANCELLED)
    )


def rescue_rows(book: Ledger) -> int:
    """Take objects back from deliverers whose lease ran out; return how many."""
    lost = book.session.execute(
        sa.select(OutboxRow.id, OutboxRow.job_id)
        .where(OutboxRow.state == OutboxState.SENDING, OutboxRow.lease_ends_at < book.at)
        .order_by(OutboxRow.job_id, OutboxRow.id)
    ).all()
    rescued = 0
    for row_id, job_id in lost:
        job = book.job(job_id)
        row = _locked(book, row_id)
        if row.lease_ends_at is not None and row.lease_ends_at < book.at:
            _put_back(book, row, job, run_after=book.at)
            _note(book, row, event="send_rescued")
            rescued += 1
    return rescued


def _oldest_due(at: datetime, destinations: Collection[str]) -> sa.ScalarSelect[int]:
    candidate = aliased(OutboxRow)
    return (
        sa.select(candidate.id)
        .where(
            candidate.state == OutboxState.WAITING,
            candidate.run_after <= at,
            candidate.destination.in_(destinations),
        )
        .order_by(candidate.run_after, candidate.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=candidate)
        .scalar_subquery()
    )


def _held(book: Ledger, claim: OutboxClaim) -> tuple[OutboxRow, Job]:
    """Return the claimed row and its job, both locked, to the one that still has the token.

    The job is locked first, here and everywhere: two deliverers that end the last two objects at
    once must see one another, and two locks in two orders would wait for ever.
    """
    job = book.job(claim.job_id)
    row = _locked(book, claim.outbox_id)
    if row.state is not OutboxState.SENDING or row.claim_token != claim.token:
        raise LeaseLostError(what="object", row_id=claim.outbox_id)
    return row, job


def _locked(book: Ledger, row_id: int) -> OutboxRow:
    return book.session.get_one(OutboxRow, row_id, with_for_update=True, populate_existing=True)


def _put_back(book: Ledger, row: OutboxRow, job: Job, *, run_after: datetime) -> None:
    """Let the object wait; if its job was stopped or has a newer revision, it is not sent."""
    result = book.session.get_one(Result, row.result_id)
    is_owed = job.state is JobState.DELIVERING and result.revision == job.revision
    row.run_after = run_after
    _end_claim(row, state=OutboxState.WAITING if is_owed else OutboxState.CANCELLED)


def _end_claim(row: OutboxRow, *, state: OutboxState) -> None:
    row.state, row.claim_token, row.lease_ends_at = state, None, None


def _note(book: Ledger, row: OutboxRow, *, event: str) -> None:
    book.session.flush()
    book.note(
        row.job_id,
        event=event,
        reason=row.error or "",
        detail={
            "kind": row.kind.value,
            "destination": row.destination,
            "attempt": row.attempt,
            "status": row.status,
            "sop_instance_uid": row.sop_instance_uid,
        },
    )


def _claim_of(session: Session, row: OutboxRow) -> OutboxClaim:
    result = session.get_one(Result, row.result_id)
    taken = session.scalars(
        sa.select(OutboxRow.sop_instance_uid)
        .where(
            OutboxRow.job_id == row.job_id,
            OutboxRow.destination == row.destination,
            OutboxRow.sent_at.is_not(None),
        )
        .order_by(OutboxRow.id)
    )
    if row.claim_token is None or row.lease_ends_at is None:
        raise LeaseLostError(what="object", row_id=row.id)
    return OutboxClaim(
        outbox_id=row.id,
        token=row.claim_token,
        attempt=row.attempt,
        lease_ends_at=row.lease_ends_at,
        created_at=row.owed_since,
        job_id=row.job_id,
        result_id=row.result_id,
        revision=result.revision,
        kind=row.kind,
        destination=row.destination,
        result_folder=result.result_folder,
        taken_uids=tuple(uid for uid in taken if uid is not None),
    )
