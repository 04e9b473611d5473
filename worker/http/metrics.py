"""What Prometheus scrapes. Labels are states, codes, releases and names of peers; no UID, ever."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.config import StorageSection
from schemas.errors import TransientError
from schemas.figures import Snapshot
from schemas.jobs import JobState
from worker.health.checks import Disk
from worker.logs import log
from worker.queue.figures import Figures

#: seconds; a CPU reads an image in about a second, a GPU in a tenth of it
_STAGE_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH: Final = 2000
#: On PostgreSQL a row with a lower number may be committed after one with a higher: so many
#: numbers back are read again, and what was counted is not counted twice.
_OVERLAP: Final = 200

_Row = TypeVar("_Row")


class Metrics:
    """The counters and gauges of one process, brought up to date at each scrape."""

    def __init__(
        self,
        figures: Figures,
        *,
        storage: StorageSection,
        version: str,
        release: Callable[[], str],
    ) -> None:
        self._figures = figures
        self._lock = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Gauges(figures, storage, version=version, release=release))
        self._results = Counter(
            "boneage_results",
            "Results, by outcome and reason of refusal; the phantom apart.",
            ("outcome", "reason", "release", "is_phantom"),
            registry=self._registry,
        )
        self._endings = Counter(
            "boneage_endings",
            "Jobs that ended without a result: ignored or failed, by reason.",
            ("event", "reason"),
            registry=self._registry,
        )
        self._stages = Histogram(
            "boneage_stage_seconds",
            "How long each stage of one image took.",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=self._registry,
        )
        self._read_results = _Reader(figures.results_after, key=lambda row: row.result_id)
        self._read_endings = _Reader(figures.endings_after, key=lambda row: row.event_id)

    def exposition(self) -> bytes:
        """Return everything in the text format of Prometheus.

        A database that is away is ``boneage_database_up 0``, and what was counted stands still.
        """
        with self._lock:
            try:
                self._count()
            except TransientError as error:
                log.warning("metrics.database", code=error.code)
            return generate_latest(self._registry)

    def _count(self) -> None:
        for result in self._read_results.fresh():
            self._results.labels(
                outcome=result.outcome.value,
                reason=result.reason,
                release=result.release,
                is_phantom=str(result.is_phantom).lower(),
            ).inc()
            for stage, milliseconds in result.timings_ms.items():
                self._stages.labels(stage=stage).observe(milliseconds / 1000)
        for ending in self._read_endings.fresh():
            self._endings.labels(event=ending.event, reason=ending.reason).inc()


def metrics_routes(metrics: Metrics) -> list[Route]:
    """Return the address of the metrics; it asks for no token."""

    def scrape(_request: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/metrics", scrape)]


class _Reader(Generic[_Row]):
    """Reads a table that only grows, from its first row on, each row once.

    From the first, because a counter that begins anew at every start would count nothing of what
    happened in between.
    """

    def __init__(self, read: Callable[..., Sequence[_Row]], *, key: Callable[[_Row], int]) -> None:
        self._read = read
        self._key = key
        self._last = 0
        self._counted: deque[int] = deque(maxlen=2 * _OVERLAP)

    def fresh(self) -> Iterator[_Row]:
        """Yield what was not yielded before."""
        after = max(0, self._last - _OVERLAP)
        while rows := self._read(after, limit=_BATCH):
            for row in rows:
                number = self._key(row)
                if number <= self._last and number in self._counted:
                    continue
                self._counted.append(number)
                self._last = max(self._last, number)
                yield row
            after = self._key(rows[-1])


class _Gauges(Collector):
    """What stands now, read from the database at each scrape."""

    def __init__(
        self,
        figures: Figures,
        storage: StorageSection,
        *,
        version: str,
        release: Callable[[], str],
    ) -> None:
        self._figures = figures
        self._storage = storage
        self._version = version
        self._release = release

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge; of a database that is away, only that it is."""
        built = GaugeMetricFamily("boneage_build", "What runs here.", labels=("version", "release"))
        built.add_metric((self._version, self._release()), 1)
        yield built
        yield from _disk(self._storage)
        try:
            snapshot = self._figures.snapshot()
        except TransientError:
            yield _gauge("boneage_database_up", "The database answers.", 0)
            return
        yield _gauge("boneage_database_up", "The database answers.", 1)
        yield from _jobs(snapshot)
        yield from _destinations(snapshot)
        yield from _drift(snapshot)
        yield from _times(snapshot)


def _jobs(snapshot: Snapshot) -> Iterator[Metric]:
    count = GaugeMetricFamily("boneage_jobs", "Jobs in each state.", labels=("state",))
    oldest = GaugeMetricFamily(
        "boneage_jobs_oldest_seconds",
        "How long the oldest job waits in a state that it should leave; 0 where none does.",
        labels=("state",),
    )
    for state, backlog in snapshot.jobs.items():
        count.add_metric((state.value,), backlog.count)
    for state in (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING):
        waits = _seconds_since(snapshot, snapshot.jobs[state].oldest_at)
        oldest.add_metric((state.value,), waits)
    yield count
    yield oldest


def _destinations(snapshot: Snapshot) -> Iterator[Metric]:
    label = ("destination",)
    waiting = GaugeMetricFamily("boneage_outbox_waiting", "Objects not taken yet.", labels=label)
    failed = GaugeMetricFamily(
        "boneage_outbox_failed", "Objects that need an operator.", labels=label
    )
    oldest = GaugeMetricFamily(
        "boneage_outbox_oldest_seconds", "How long the oldest object waits.", labels=label
    )
    is_up = GaugeMetricFamily(
        "boneage_destination_up", "1: it took what was sent last. 0: it did not.", labels=label
    )
    for one in snapshot.destinations:
        name = (one.destination,)
        waiting.add_metric(name, one.waiting.count)
        failed.add_metric(name, one.failed)
        oldest.add_metric(name, _seconds_since(snapshot, one.waiting.oldest_at))
        if one.has_refused or one.last_taken_at is not None:
            is_up.add_metric(name, 0 if one.has_refused else 1)
    yield from (waiting, failed, oldest, is_up)


def _drift(snapshot: Snapshot) -> Iterator[Metric]:
    what = "Bone age minus chronological age of the newest estimates, by sex: "
    mean = GaugeMetricFamily("boneage_drift_mean_months", what + "mean.", labels=("sex",))
    middle = GaugeMetricFamily("boneage_drift_median_months", what + "median.", labels=("sex",))
    count = GaugeMetricFamily("boneage_drift_estimates", what + "how many.", labels=("sex",))
    for one in snapshot.drift:
        mean.add_metric((one.sex,), one.mean_months)
        middle.add_metric((one.sex,), one.median_months)
        count.add_metric((one.sex,), one.count)
    yield from (mean, middle, count)


def _times(snapshot: Snapshot) -> Iterator[Metric]:
    for name, what, at in (
        (
            "boneage_last_result_timestamp_seconds",
            "When a result was made.",
            snapshot.last_result_at,
        ),
        (
            "boneage_last_delivered_timestamp_seconds",
            "When a destination took an object.",
            snapshot.last_delivered_at,
        ),
    ):
        if at is not None:
            yield _gauge(name, what, at.timestamp())
    success = GaugeMetricFamily(
        "boneage_periodic_success_timestamp_seconds",
        "When each job of the schedule last ended well.",
        labels=("name",),
    )
    failure = GaugeMetricFamily(
        "boneage_periodic_failure_timestamp_seconds",
        "When each job of the schedule last failed.",
        labels=("name",),
    )
    for one in snapshot.periodic:
        if one.succeeded_at is not None:
            success.add_metric((one.name,), one.succeeded_at.timestamp())
        if one.failed_at is not None:
            failure.add_metric((one.name,), one.failed_at.timestamp())
    yield from (success, failure)


def _disk(storage: StorageSection) -> Iterator[Metric]:
    try:
        disk = Disk.of(storage)
    except OSError:
        return
    yield _gauge("boneage_disk_used_percent", "Of the storage root's disk.", disk.used_percent)
    yield _gauge("boneage_disk_free_bytes", "On the storage root's disk.", disk.free_bytes)
    yield _gauge(
        "boneage_disk_high_mark_percent",
        "From here on images are refused.",
        storage.high_mark_percent,
    )


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=value)


def _seconds_since(snapshot: Snapshot, at: datetime | None) -> float:
    return max(0.0, (snapshot.at - at).total_seconds()) if at is not None else 0.0
