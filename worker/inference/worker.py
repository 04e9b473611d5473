"""The worker that reads images: claim, check, estimate, write the files, settle."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Protocol

from pydicom.dataset import Dataset

from schemas.config import IntakeRule, PeerSection, RefusalObjects
from schemas.errors import (
    DatabaseUnavailableError,
    DeviceError,
    IsolatedJobError,
    LeaseLostError,
)
from schemas.jobs import Claim, JobState, JobView, NewResult, ObjectKind, OutboxOrder
from schemas.refusals import IgnoreReason, RefusalReason
from schemas.retention import ImageFingerprint
from worker.inference.company import Company, side_by_side
from worker.inference.decisions import (
    Decision,
    Deliver,
    Failure,
    Ignore,
    Keep,
    Quarantine,
    failure_of,
)
from worker.inference.destinations import destinations_of, orders_for
from worker.inference.estimate import Finding, ImageReader, Revision
from worker.inference.former import change_since
from worker.inference.heartbeat import Heartbeat, Limits, end_process
from worker.inference.intake import judge
from worker.inference.received import ReceivedImage, SpoolFileMissingError, read_spooled
from worker.inference.resend import Change, change_between
from worker.inference.results import new_result, result_folder, write_result
from worker.logs import log

#: before a database that could not be used is asked again
PAUSE_SECONDS = 1.0
#: a result takes 7 MB, most of it the page; the database needs room besides
ROOM_BYTES = 32 * 1024 * 1024


class InferenceQueue(Protocol):
    """What inference needs of ``worker.queue.jobs.JobQueue``."""

    def claim(self, *, lease: timedelta) -> Claim | None: ...  # noqa: D102 - see JobQueue
    def renew(self, claim: Claim, *, lease: timedelta) -> Claim: ...  # noqa: D102
    def release(self, claim: Claim, *, reason: str = ...) -> None: ...  # noqa: D102
    def take_overdue(self, claim: Claim, *, deadline: timedelta) -> None: ...  # noqa: D102
    def settle(self, claim: Claim, result: NewResult) -> None: ...  # noqa: D102
    def settle_unchanged(self, claim: Claim, *, reason: str) -> None: ...  # noqa: D102
    def settle_ignored(self, claim: Claim, *, reason: IgnoreReason) -> None: ...  # noqa: D102
    def quarantine(self, claim: Claim, *, reason: str) -> None: ...  # noqa: D102
    def retry(self, claim: Claim, *, code: str, message: str) -> JobState: ...  # noqa: D102
    def fail(self, claim: Claim, *, code: str, message: str) -> None: ...  # noqa: D102
    def job(self, job_id: int) -> JobView: ...  # noqa: D102
    def former_fingerprint(self, job_id: int) -> ImageFingerprint | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class InferencePolicy:
    """The settings of [inference], [intake], [[peer]] and [report] that decide about a job."""

    rules: Sequence[IntakeRule]
    peers: Sequence[PeerSection]
    lease: timedelta
    poll_seconds: float
    grace_seconds: float = 20  #: how long a stop waits for the job in hand
    deadline: timedelta = timedelta(minutes=15)  #: for the work on one image
    refusals: RefusalObjects = RefusalObjects.ALL
    report_technical_failures: bool = True
    fingerprint_key: bytes = b""  #: of what retention keeps of an image, see ``former``
    #: how many images are in hand; for more than one the reader's estimator is ``Batches``
    images_at_once: int = 1


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One claim, and what has been found out about it so far."""

    claim: Claim
    image: ReceivedImage | None = None
    orders: tuple[OutboxOrder, ...] | None = None  #: known once a rule wanted the image
    device_error: DeviceError | None = None
    revision: Revision = field(init=False)
    folder: str = field(init=False)

    def __post_init__(self) -> None:
        self.revision = Revision(number=self.claim.revision, predecessors=self.claim.predecessors)
        self.folder = result_folder(self.claim)


class InferenceWorker:
    """Reads one job after the other, or so many side by side as its policy says."""

    def __init__(
        self, queue: InferenceQueue, reader: ImageReader, *, root: Path, policy: InferencePolicy
    ) -> None:
        self._queue = queue
        self._reader = reader
        self._root = root
        self._policy = policy
        self._had_room = True
        self._company = Company()

    def run(self, stop: Event) -> None:
        """Work until ``stop`` is set; the jobs in hand are finished, or given back.

        While disk or database cannot take a result, nothing is claimed: that would only use up
        the attempts of images that are sound.

        Raises:
            DeviceError: the accelerator is in doubt; the process should end and start again.
        """
        side_by_side(lambda: self._read_on(stop), count=self._policy.images_at_once, stop=stop)

    def _read_on(self, stop: Event) -> None:
        """Read one image after the other until ``stop`` is set; raises as ``run``."""
        while not stop.is_set():
            try:
                self._read_next(lambda: self._wait_for_claim(stop), stop)
            except DatabaseUnavailableError as error:
                log.warning("worker.waits", code=error.code)
                stop.wait(PAUSE_SECONDS)

    def _wait_for_claim(self, stop: Event) -> Claim | None:
        """Claim the oldest job that is due; where there is none, or no room, pause."""
        if stop.is_set():
            return None
        claim = self._claim() if self._has_room() else None
        if claim is None:
            stop.wait(self._policy.poll_seconds)
        return claim

    def _claim(self) -> Claim | None:
        return self._queue.claim(lease=self._policy.lease)

    def _put_back(self, claim: Claim) -> None:
        self._queue.release(claim, reason="to be read alone")

    def _has_room(self) -> bool:
        has_room = shutil.disk_usage(self._root).free >= ROOM_BYTES
        if has_room != self._had_room:
            log.warning("worker.goes_on" if has_room else "worker.no_room")
        self._had_room = has_room
        return has_room

    def run_once(self, stop: Event | None = None) -> bool:
        """Work on the oldest job that is due; say whether there was one.

        Raises:
            DeviceError: as in ``run``; the job itself was given back or reported before.
        """
        return self._read_next(self._claim, stop or Event())

    def _read_next(self, take: Callable[[], Claim | None], stop: Event) -> bool:
        with self._company.taking(take, put_back=self._put_back) as claim:
            if claim is not None:
                self._work_on(claim, stop)
        return claim is not None

    def _work_on(self, claim: Claim, stop: Event) -> None:
        """Bring one job to its next state; raises as ``run``."""
        log.info("worker.claimed", job_id=claim.job_id, attempt=claim.attempt)
        attempt = _Attempt(claim=claim)
        with Heartbeat(
            self._queue,
            claim,
            limits=Limits(
                lease=self._policy.lease,
                grace_seconds=self._policy.grace_seconds,
                deadline=self._policy.deadline,
            ),
            stop=stop,
            on_stuck=end_process,
        ) as heartbeat:
            decision = self._decide(attempt)
            heartbeat.rest()
            self._apply(attempt, decision, stop=stop)
        if attempt.device_error is not None:
            raise attempt.device_error

    def _decide(self, attempt: _Attempt) -> Decision:
        """Return what is to become of the job; errors become part of the answer."""
        try:
            return self._examine(attempt)
        except Exception as error:  # noqa: BLE001 - every error has a next state: failure_of
            failure = self._failure(attempt, error)
        if failure.refusal is None or not self._can_report(attempt, failure):
            return failure
        try:
            return self._refuse(attempt, failure)
        except Exception as error:  # noqa: BLE001 - the refusal failed too: the job does
            return self._failure(attempt, error)

    def _examine(self, attempt: _Attempt) -> Decision:
        """Follow one image from its file to its result."""
        claim = attempt.claim
        attempt.image = image = read_spooled(
            self._root, claim.spool_file, with_pixels=not claim.is_refusal_only
        )
        settled = None if claim.is_refusal_only else self._compare(claim, image)
        if settled is not None:
            return settled
        rule = judge(image.dataset, calling_ae=claim.calling_ae, rules=self._policy.rules)
        if isinstance(rule, IgnoreReason):
            return Ignore(reason=rule)
        attempt.orders = orders_for(
            destinations_of(rule=rule, calling_ae=claim.calling_ae, peers=self._policy.peers)
        )
        if claim.is_refusal_only:
            raise IsolatedJobError
        finding = self._reader.read(
            image,
            attempt.revision,
            with_heatmap_object=any(one.kind is ObjectKind.HEATMAP for one in attempt.orders),
        )
        return self._deliver(attempt, finding, orders=attempt.orders)

    def _compare(self, claim: Claim, image: ReceivedImage) -> Decision | None:
        """Say what a resent object changes; ``None``: it is to be read."""
        former = claim.former_spool_file
        if former is None or former == claim.spool_file:
            return None
        if self._queue.job(claim.job_id).reason == RefusalReason.TECHNICAL:
            return None  # a result that failed has nothing to keep
        change = self._change(claim.job_id, former, image.dataset)
        if change is None:
            return Quarantine(reason="the former content is gone: the two cannot be compared")
        if change is Change.IMAGE:
            return Quarantine(reason="other pixels under the same SOP Instance UID")
        if change is Change.NOTHING_RELEVANT:
            return Keep(reason="resent: same pixels, no change that the result would show")
        return None

    def _change(self, job_id: int, former: str, newer: Dataset) -> Change | None:
        """Compare with the file of the former content, or with what retention kept of it."""
        try:
            return change_between(read_spooled(self._root, former).dataset, newer)
        except SpoolFileMissingError:
            kept = self._queue.former_fingerprint(job_id)
        if kept is None:
            return None
        return change_since(kept, newer, key=self._policy.fingerprint_key)

    def _can_report(self, attempt: _Attempt, failure: Failure) -> bool:
        """Say whether a refusal can go out: a rule wanted the image, and somebody gets it."""
        is_wanted = (
            failure.refusal is not RefusalReason.TECHNICAL or self._policy.report_technical_failures
        )
        return is_wanted and attempt.image is not None and attempt.orders is not None

    def _refuse(self, attempt: _Attempt, failure: Failure) -> Decision:
        """Write the refusal that ``failure`` asks for."""
        if attempt.image is None or attempt.orders is None or failure.refusal is None:
            return failure
        finding = self._reader.refuse(
            attempt.image, attempt.revision, reason=failure.refusal, detail=failure.detail
        )
        is_sent = self._policy.refusals is RefusalObjects.ALL
        is_technical = failure.refusal is RefusalReason.TECHNICAL
        return self._deliver(
            attempt,
            finding,
            orders=attempt.orders if is_sent else (),
            error=f"{failure.code}: {failure.message}" if is_technical else "",
        )

    def _deliver(
        self,
        attempt: _Attempt,
        finding: Finding,
        *,
        orders: tuple[OutboxOrder, ...],
        error: str = "",
    ) -> Deliver:
        digests = write_result(finding, root=self._root, folder=attempt.folder)
        result = new_result(
            finding, folder=attempt.folder, digests=digests, orders=orders, error=error
        )
        return Deliver(result=result)

    def _failure(self, attempt: _Attempt, error: Exception) -> Failure:
        if isinstance(error, DeviceError):
            attempt.device_error = error
        failure = failure_of(error, is_last_attempt=attempt.claim.is_last_attempt)
        say = log.info if failure.refusal not in (None, RefusalReason.TECHNICAL) else log.error
        say(
            "worker.failed",
            job_id=attempt.claim.job_id,
            attempt=attempt.claim.attempt,
            code=failure.code,
            where=failure.message if failure.code.startswith("bug.") else "",
        )
        return failure

    def _apply(self, attempt: _Attempt, decision: Decision, *, stop: Event) -> None:
        """Tell the queue, again if its database is away; throw away what is made without a lease.

        Raises:
            DatabaseUnavailableError: it was still away when ``stop`` was set.
        """
        was_heard = True
        while True:
            try:
                return self._settle(attempt.claim, decision)
            except DatabaseUnavailableError as error:
                was_heard = False
                log.warning("worker.waits", job_id=attempt.claim.job_id, code=error.code)
                if stop.wait(PAUSE_SECONDS):
                    raise
            except LeaseLostError as error:
                log.warning("worker.lease_lost", job_id=attempt.claim.job_id, code=error.code)
                if was_heard:  # else it may be our own result, of which we were not told
                    shutil.rmtree(self._root / attempt.folder, ignore_errors=True)
                return None

    def _settle(self, claim: Claim, decision: Decision) -> None:
        queue = self._queue
        match decision:
            case Deliver(result=result):
                queue.settle(claim, result)
                log.info("worker.settled", job_id=claim.job_id, outcome=result.outcome.value)
            case Ignore(reason=reason):
                queue.settle_ignored(claim, reason=reason)
            case Keep(reason=reason):
                queue.settle_unchanged(claim, reason=reason)
            case Quarantine(reason=reason):
                queue.quarantine(claim, reason=reason)
                log.error("worker.quarantined", job_id=claim.job_id)
            case Failure(code=code, message=message, may_pass=True):
                queue.retry(claim, code=code, message=message)
            case Failure(code=code, message=message):
                queue.fail(claim, code=code, message=message)
