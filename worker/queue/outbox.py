"""The outbox: objects owed to destinations, claimed and sent one by one."""

import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import MappingProxyType

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session, aliased

from schemas.errors import LeaseLostError
from schemas.jobs import NewOutput, OutboxClaim, OutboxState
from schemas.tables import Job, OutboxRow, PeerClass, Result
from worker.queue.commitments import Commitments
from worker.queue.database import reading
from worker.queue.ledger import Ledger, ledger
from worker.queue.results import add_output
from worker.queue.rows import (
    count_without_destination,
    end_claim,
    fail_waiting,
    fail_without_destination,
    give_up_row,
    locked_row,
    note_row,
    put_back,
)


class Outbox:
    """All that delivery knows of the database. It holds no session, so threads may share it."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime], actor: str) -> None:
        """``actor`` stands in the audit trail."""
        self._engine = engine
        self._now = now
        self._actor = actor

    def claim(self, *, lease: timedelta, destinations: Collection[str]) -> OutboxClaim | None:
        """Take the first object that is due for one of ``destinations``, or nothing.

        The first is that of the oldest image, or of one that its sender called urgent.
        """
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
                    interrupted_uid=sa.func.coalesce(
                        OutboxRow.offered_uid, OutboxRow.interrupted_uid
                    ),
                    offered_uid=None,
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
            put_back(book, row, job, run_after=book.at)

    def record_output(self, claim: OutboxClaim, output: NewOutput) -> None:
        """Write down an object before it goes on the wire; idempotent.

        If we end before the answer comes, the next claim says that it may lie there already.
        """
        with self._ledger() as book:
            row, _ = _held(book, claim)
            row.offered_uid = output.sop_instance_uid
            add_output(book, output, result_id=row.result_id)

    def mark_sent(
        self,
        claim: OutboxClaim,
        *,
        sop_instance_uid: str,
        status: int,
        confirm_after: timedelta | None = None,
        digests: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Write down that the destination took the object; the last one ends the job.

        Args:
            claim: the right to say so.
            sop_instance_uid: of the object that was taken.
            status: DIMSE status of the answer.
            confirm_after: when to ask for proof that it is kept (``Commitments``); None: the
                answer is all that this destination owes us.
            digests: sha256 of the file that delivery built and sent, by its name.
        """
        with self._ledger() as book:
            row, job = _held(book, claim)
            row.sop_instance_uid, row.status, row.error = sop_instance_uid, status, None
            row.offered_uid = row.interrupted_uid = row.commitment_uid = None
            row.sent_at = book.at
            row.confirmed_at = book.at if confirm_after is None else None
            row.run_after = book.at + (confirm_after or timedelta())
            end_claim(
                row, state=OutboxState.CONFIRMED if confirm_after is None else OutboxState.SENT
            )
            note_row(book, row, event="sent", digests=digests)
            book.conclude(job)

    def retry(
        self,
        claim: OutboxClaim,
        *,
        delay: timedelta,
        status: int | None,
        error: str,
        is_doubtful: bool = False,
    ) -> None:
        """Put the object back for later.

        Args:
            claim: the right to say so.
            delay: how long it waits.
            status: DIMSE status of the answer; None: there was none.
            error: in words.
            is_doubtful: waiting seldom helps; ``OutboxClaim.doubtful_tries`` counts these.
        """
        with self._ledger() as book:
            row, job = _held(book, claim)
            row.status, row.error = status, error
            row.doubtful_tries += is_doubtful
            if status is not None:
                row.offered_uid = None
            put_back(book, row, job, run_after=book.at + delay)
            note_row(book, row, event="send_retry")

    def fail(self, claim: OutboxClaim, *, status: int | None, error: str) -> None:
        """Give the object up until an operator asks for it; the others still go."""
        with self._ledger() as book:
            row, job = _held(book, claim)
            row.status = status
            if status is not None:
                row.offered_uid = None
            give_up_row(book, row, job, error=error)

    def fail_without_destination(self, known: Collection[str]) -> int:
        """Give up what waits for a destination not among ``known``; return how many objects.

        Nobody would ever send them: a failed job with the mend in its error is seen, one that
        waits in silence is not.
        """
        with reading(self._engine) as session:
            if not count_without_destination(session, known):
                return 0
        with self._ledger() as book:
            return fail_without_destination(book, known)

    def fail_overdue(self, destination: str, *, patience: timedelta, error: str) -> int:
        """Give up what has waited longer than ``patience`` for ``destination``; return how many."""
        with self._ledger() as book:
            is_overdue = OutboxRow.owed_since < book.at - patience
            return fail_waiting(book, sa.and_(_waits_for(destination), is_overdue), error=error)

    def is_owed(self, destination: str) -> bool:
        """Say whether anything is to be sent there, or to be proved."""
        owed = sa.select(OutboxRow.id).where(
            OutboxRow.destination == destination,
            OutboxRow.state.in_((OutboxState.WAITING, OutboxState.SENT)),
        )
        with reading(self._engine) as session:
            return session.scalar(owed.limit(1)) is not None

    def hasten(self, destination: str) -> None:
        """Let go at once what was put off because ``destination`` was away.

        What it did not understand keeps its pause: that the peer is back says nothing of that.
        """
        with self._ledger() as book:
            book.session.execute(
                sa.update(OutboxRow)
                .where(
                    _waits_for(destination),
                    OutboxRow.doubtful_tries == 0,
                    OutboxRow.run_after > book.at,
                )
                .values(run_after=book.at)
                .execution_options(synchronize_session=False)
            )

    def waiting_without_destination(self, known: Collection[str]) -> dict[str, int]:
        """Return how many objects wait for each destination that is not among ``known``."""
        with reading(self._engine) as session:
            return count_without_destination(session, known)

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

    @property
    def commitments(self) -> Commitments:
        """Return what is known of the proofs that destinations owe us."""
        return Commitments(self._engine, now=self._now, actor=self._actor)

    def _ledger(self) -> AbstractContextManager[Ledger]:
        return ledger(self._engine, now=self._now, actor=self._actor)


def _waits_for(destination: str) -> sa.ColumnElement[bool]:
    return sa.and_(OutboxRow.destination == destination, OutboxRow.state == OutboxState.WAITING)


def _oldest_due(at: datetime, destinations: Collection[str]) -> sa.ScalarSelect[int]:
    candidate = aliased(OutboxRow)
    return (
        sa.select(candidate.id)
        .where(
            candidate.state == OutboxState.WAITING,
            sa.or_(candidate.attempt == 0, candidate.run_after <= at),
            candidate.destination.in_(destinations),
        )
        .order_by(candidate.rank_at, candidate.id)
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
    row = locked_row(book, claim.outbox_id)
    if row.state is not OutboxState.SENDING or row.claim_token != claim.token:
        raise LeaseLostError(what="object", row_id=claim.outbox_id)
    return row, job


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
        interrupted_uid=row.interrupted_uid,
        doubtful_tries=row.doubtful_tries,
    )
