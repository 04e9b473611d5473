"""Remove the files of jobs that are done with, one job at a time, each with its line in the trail.

Only a job that was delivered, or that no rule wanted, is ever touched, and only if nothing under
its UID waits: every other state waits for a machine or for a person.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session, aliased

from schemas.jobs import JobState, OutboxState, ReceptionState
from schemas.refusals import RefusalReason
from schemas.retention import ImageFingerprint, RetentionPolicy
from schemas.tables import Job, OutboxRow, Reception, Result
from worker.logs import log
from worker.queue.database import reading, time_of
from worker.queue.former import REMOVED, fingerprint_details
from worker.queue.ledger import Detail, Ledger, ledger
from worker.queue.results import current_result

ACTOR = "retention"
_FOLDERS = ("spool", "results")
#: a job in one of these is kept, however old it is, and shown as held
_HELD = (JobState.DELIVERING, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The files of one job."""

    job_id: int
    paths: tuple[str, ...]  #: relative to the storage root
    size_bytes: int


class FileRetention:
    """Removes images and results by policy."""

    def __init__(
        self,
        engine: Engine,
        *,
        root: Path,
        policy: RetentionPolicy,
        now: Callable[[], datetime],
        fingerprint: Callable[[Path], ImageFingerprint | None],
        actor: str = ACTOR,
    ) -> None:
        """``fingerprint`` takes what is kept of an image before its file goes."""
        self._engine = engine
        self._root = root
        self._fingerprint = fingerprint
        self._policy = policy
        self._now = now
        self._actor = actor

    def due(self) -> list[Removal]:
        """Return what would go now; changes nothing."""
        with reading(self._engine) as session:
            at = time_of(session, self._now)
            return [self._removal(session, job) for job in self._candidates(session, at=at)]

    def held(self) -> dict[str, int]:
        """Return how many old jobs are kept all the same, by reason."""
        periods = [one for one in (self._policy.images, self._policy.ignored) if one is not None]
        if not periods:
            return {}
        with reading(self._engine) as session:
            before = time_of(session, self._now) - min(periods)
            old = Job.updated_at <= before
            counts = session.execute(
                sa.select(Job.state, sa.func.count())
                .where(old, Job.state.in_(_HELD))
                .group_by(Job.state)
            ).all()
            set_aside = session.scalar(
                sa.select(sa.func.count())
                .select_from(Reception)
                .where(
                    Reception.state == ReceptionState.QUARANTINED, Reception.received_at <= before
                )
            )
        held = {row[0].value: row[1] for row in counts}
        return held | ({"quarantined": set_aside} if set_aside else {})

    def remove(self, due: list[Removal]) -> tuple[list[Removal], int]:
        """Remove what is still due; return what went, and how many the disk did not let go."""
        removed, failed = [], 0
        for one in due:
            try:
                gone = self._remove(one.job_id, kept=self._kept_of(one.job_id))
            except OSError as error:
                log.error("retention.failed", job_id=one.job_id, errno=error.errno)
                failed += 1
                continue
            if gone is not None:
                removed.append(gone)
        return removed, failed

    def _kept_of(self, job_id: int) -> Detail:
        """Take the fingerprint of the image that the current result was made from, if any.

        Outside of the transaction that removes it: the pixels are decoded for it. An image whose
        pixels ended a worker, or could have, is left alone.
        """
        with reading(self._engine) as session:
            job = session.get(Job, job_id)
            result = None if job is None else current_result(session, job)
            if result is None or result.reason == RefusalReason.TECHNICAL:
                return {}
            image = session.get_one(Reception, result.reception_id)
            number, spool_file = image.id, image.spool_file
        kept = self._fingerprint(self._root / spool_file)
        return {} if kept is None else fingerprint_details(number, kept)

    def _remove(self, job_id: int, *, kept: Detail) -> Removal | None:
        """Remove the files of one job inside its transaction; nothing if it has moved on.

        The files go while the job is locked, against the rule: the same bytes may arrive at this
        moment, and their sender must be told by the listener that they are gone, or find them.
        """
        with ledger(self._engine, now=self._now, actor=self._actor) as book:
            uid = book.session.scalar(sa.select(Job.sop_instance_uid).where(Job.id == job_id))
            if uid is None:
                return None
            book.lock(f"SOP instance {uid}")
            job = book.job(job_id)
            fits = self._is_due(at=book.at)
            if book.session.scalar(sa.select(Job.id).where(Job.id == job_id, fits)) is None:
                return None
            gone = self._removal(book.session, job)
            for path in gone.paths:
                self._delete(path)
            self._mark(book, job, gone, kept=kept)
            return gone

    def _candidates(self, session: Session, *, at: datetime) -> Iterator[Job]:
        yield from session.scalars(sa.select(Job).where(self._is_due(at=at)).order_by(Job.id))

    def _is_due(self, *, at: datetime) -> sa.ColumnElement[bool]:
        """Return what a job must fulfil: at rest for long enough, nothing owed, files there."""
        other = aliased(Job)
        is_rested = sa.or_(
            _rested(Job, JobState.DELIVERED, self._policy.images, at=at),
            _rested(Job, JobState.IGNORED, self._policy.ignored, at=at),
        )
        under_its_uid = Reception.sop_instance_uid == Job.sop_instance_uid
        is_kept = Reception.state == ReceptionState.KEPT
        waits = sa.exists().where(under_its_uid, is_kept, Reception.examined_at.is_(None))
        others_wait = sa.exists().where(
            other.sop_instance_uid == Job.sop_instance_uid,
            other.state.not_in((JobState.DELIVERED, JobState.IGNORED)),
        )
        is_owed = sa.exists().where(
            OutboxRow.job_id == Job.id,
            OutboxRow.result_id == Result.id,
            Result.revision == Job.revision,
            OutboxRow.state != OutboxState.CONFIRMED,
        )
        has_image = sa.exists().where(under_its_uid, is_kept, Reception.removed_at.is_(None))
        has_result = sa.exists().where(Result.job_id == Job.id, Result.removed_at.is_(None))
        return sa.and_(is_rested, ~waits, ~others_wait, ~is_owed, sa.or_(has_image, has_result))

    def _removal(self, session: Session, job: Job) -> Removal:
        images = session.scalars(_images(job)).all()
        results = session.scalars(_results(job)).all()
        paths = (*(one.spool_file for one in images), *(one.result_folder for one in results))
        size = sum(_size(self._root / path) for path in paths)
        return Removal(job_id=job.id, paths=paths, size_bytes=size)

    def _mark(self, book: Ledger, job: Job, gone: Removal, *, kept: Detail) -> None:
        for image in book.session.scalars(_images(job)).all():
            image.removed_at = book.at
        for result in book.session.scalars(_results(job)).all():
            result.removed_at = book.at
        period = self._policy.images if job.state is JobState.DELIVERED else self._policy.ignored
        book.session.flush()
        book.note(
            job.id,
            event=REMOVED,
            reason=in_words(job.state.value, period),
            detail={"files": len(gone.paths), "size_bytes": gone.size_bytes, **kept},
        )

    def _delete(self, relative: str) -> None:
        """Delete one file or folder; a row that was tampered with names nothing outside."""
        parts = PurePosixPath(relative).parts
        if len(parts) < len(_FOLDERS) or parts[0] not in _FOLDERS or ".." in parts:
            raise PermissionError(1, "not below spool/ or results/")
        path = self._root / relative
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def in_words(what: str, period: timedelta | None) -> str:
    """Return a policy as it stands in the trail: "delivered, after 90 days"."""
    return f"{what}, after {(period or timedelta()) / timedelta(days=1):g} days"


def _rested(
    job: type[Job], state: JobState, period: timedelta | None, *, at: datetime
) -> sa.ColumnElement[bool]:
    if period is None:
        return sa.false()
    return sa.and_(job.state == state, job.updated_at <= at - period)


def _images(job: Job) -> sa.Select[Reception]:
    return sa.select(Reception).where(
        Reception.sop_instance_uid == job.sop_instance_uid,
        Reception.state == ReceptionState.KEPT,
        Reception.removed_at.is_(None),
    )


def _results(job: Job) -> sa.Select[Result]:
    return sa.select(Result).where(Result.job_id == job.id, Result.removed_at.is_(None))


def _size(path: Path) -> int:
    """Return how many bytes a file, or the files of a folder, have; 0 for what is gone."""
    try:
        if path.is_dir():
            return sum(one.stat().st_size for one in path.iterdir() if one.is_file())
        return path.stat().st_size
    except OSError:
        return 0
