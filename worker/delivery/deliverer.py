"""All destinations at once: a lane and a thread for each."""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from schemas.config import DeliverySection, PeerSection
from schemas.errors import TransientError
from worker.delivery.circuit import Circuit
from worker.delivery.confirmer import Confirmer
from worker.delivery.lane import Lane
from worker.delivery.objects import ResultFiles
from worker.delivery.sender import Sender
from worker.delivery.statuses import retry_policy
from worker.logs import log
from worker.queue.outbox import Outbox

GRACE_SECONDS = 10.0  # a transfer under way may end by itself for so long after a stop
_ORPHANS_EVERY_SECONDS = 60.0  # how often objects for nobody are looked for
_PAUSE_SECONDS = 1.0  # before a database that could not be used is asked again


class Deliverer:
    """Brings what is in the outbox to the destinations among ``peers``."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        peers: Iterable[PeerSection],
        ae_title: str,
        files: ResultFiles,
        section: DeliverySection,
        now: Callable[[], datetime],
    ) -> None:
        self._outbox = outbox
        self._poll_seconds = section.poll_seconds
        self._connect_timeout_seconds = section.connect_timeout_seconds
        self._failures: list[BaseException] = []
        self._has_failed = threading.Event()
        self._lanes = [
            Lane(
                outbox,
                Sender(
                    outbox,
                    peer,
                    ae_title=ae_title,
                    files=files,
                    connect_timeout_seconds=section.connect_timeout_seconds,
                ),
                confirmer=Confirmer(
                    outbox.commitments,
                    peer,
                    ae_title=ae_title,
                    files=files,
                    section=section,
                    now=now,
                ),
                circuit=Circuit(
                    peer,
                    ae_title=ae_title,
                    connect_timeout_seconds=section.connect_timeout_seconds,
                    policy=retry_policy(section),
                    now=now,
                ),
                section=section,
                now=now,
            )
            for peer in peers
            if peer.destination
        ]

    def run_once(self) -> bool:
        """Let each lane deliver one object, one lane after another; say whether any did."""
        worked = [lane.run_once() for lane in self._lanes]
        return any(worked)

    def run(self, stop: threading.Event, *, grace_seconds: float = GRACE_SECONDS) -> None:
        """Deliver until ``stop``; a transfer under way may end, or is cut after the grace period.

        Raises:
            Exception: a bug met outside of a delivery: every lane stops, so that a supervisor
                starts all of them again instead of one falling silent.
        """
        threads = [
            threading.Thread(
                target=self._run_lane, args=(lane, stop), name=lane.destination, daemon=True
            )
            for lane in self._lanes
        ]
        for thread in threads:
            thread.start()
        self._watch(stop)
        _join(threads, within_seconds=grace_seconds)
        for lane, thread in zip(self._lanes, threads, strict=True):
            if thread.is_alive():
                lane.abort()
        _join(threads, within_seconds=2 * self._connect_timeout_seconds)
        if self._failures:
            raise self._failures[0]

    def _watch(self, stop: threading.Event) -> None:
        """Wait for ``stop`` or a failure; meanwhile give up what no lane will ever send."""
        looks_at = time.monotonic()
        while not (stop.wait(self._poll_seconds) or self._has_failed.is_set()):
            if time.monotonic() < looks_at:
                continue
            looks_at = time.monotonic() + _ORPHANS_EVERY_SECONDS
            try:
                known = [lane.destination for lane in self._lanes]
                failed = self._outbox.fail_without_destination(known)
            except TransientError as error:
                log.warning("delivery.waits", code=error.code)
            else:
                if failed:
                    log.error("delivery.no_destination", count=failed)

    def _run_lane(self, lane: Lane, stop: threading.Event) -> None:
        try:
            while not (stop.is_set() or self._has_failed.is_set()):
                self._run_once(lane, stop)
            lane.close()
        except BaseException as failure:  # noqa: BLE001 - raised again by run
            self._failures.append(failure)
            self._has_failed.set()

    def _run_once(self, lane: Lane, stop: threading.Event) -> None:
        try:
            if not lane.run_once():
                stop.wait(self._poll_seconds)
        except TransientError as error:  # the database; what was being sent comes back by rescue
            log.warning("delivery.waits", destination=lane.destination, code=error.code)
            stop.wait(max(self._poll_seconds, _PAUSE_SECONDS))


def _join(threads: list[threading.Thread], *, within_seconds: float) -> None:
    ends = time.monotonic() + within_seconds
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
