"""What stands now, as gauges: read from the database, the disk and the GPUs at each scrape."""

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from schemas.config import StorageSection
from schemas.errors import BoneAgeError, TransientError
from schemas.figures import Snapshot
from schemas.jobs import JobState
from worker.health.checks import Disk, Health
from worker.health.constancy import deviation_months
from worker.health.graphics import graphics_cards
from worker.health.troubles import shift_months


class Gauges(Collector):
    """What stands now, read from the database at each scrape."""

    def __init__(
        self,
        health: Health,
        storage: StorageSection,
        *,
        version: str,
        release: Callable[[], str],
    ) -> None:
        self._health = health
        self._storage = storage
        self._version = version
        self._release = release

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge; of a database that is away, only that it is."""
        built = GaugeMetricFamily("boneage_build", "What runs here.", labels=("version", "release"))
        built.add_metric((self._version, self._release()), 1)
        yield built
        yield from _disk(self._storage)
        yield from _graphics()
        try:
            snapshot = self._health.figures.snapshot()
        except TransientError:
            yield _gauge("boneage_database_up", "The database answers.", 0)
            return
        yield _gauge("boneage_database_up", "The database answers.", 1)
        yield from _jobs(snapshot)
        yield from _destinations(snapshot)
        yield from _echoes(snapshot)
        yield from _drift(snapshot)
        yield from _constancy(self._health, snapshot)
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
    overdue = GaugeMetricFamily(
        "boneage_jobs_overdue",
        "Jobs that are longer in a stage than [schedule] allows.",
        labels=("stage",),
    )
    for stage, number in snapshot.overdue.items():
        overdue.add_metric((stage.value,), number)
    yield from (count, oldest, overdue)


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


def _echoes(snapshot: Snapshot) -> Iterator[Metric]:
    is_up = GaugeMetricFamily(
        "boneage_peer_up", "1: the destination answered the last C-ECHO.", labels=("peer",)
    )
    for one in snapshot.echoes:
        is_up.add_metric((one.peer,), int(one.is_up))
    yield is_up


def _constancy(health: Health, snapshot: Snapshot) -> Iterator[Metric]:
    is_ok = health.constancy.check(snapshot.constancy, snapshot.at).is_ok
    yield _gauge("boneage_constancy_ok", "1: the phantom comes round, and comes out right.", is_ok)
    last = next((one for one in snapshot.constancy if one.ended_at is not None), None)
    if last is None or last.ended_at is None:
        return
    yield _gauge(
        "boneage_constancy_timestamp_seconds",
        "When the phantom last came back.",
        last.ended_at.timestamp(),
    )
    try:
        phantom = health.constancy.expected().phantom
    except BoneAgeError:
        return
    deviation = deviation_months(last, phantom)
    if deviation is not None:
        yield _gauge(
            "boneage_constancy_deviation_months", "What it came out with, minus known.", deviation
        )
    yield _gauge(
        "boneage_constancy_tolerance_months", "How far it may be off.", phantom.tolerance_months
    )


def _graphics() -> Iterator[Metric]:
    label = ("device",)
    used = GaugeMetricFamily("boneage_device_memory_used_bytes", "Of a GPU.", labels=label)
    total = GaugeMetricFamily("boneage_device_memory_bytes", "All of a GPU.", labels=label)
    heat = GaugeMetricFamily("boneage_device_celsius", "How hot a GPU is.", labels=label)
    for card in graphics_cards():
        used.add_metric((card.device,), card.used_bytes)
        total.add_metric((card.device,), card.total_bytes)
        heat.add_metric((card.device,), card.celsius)
    yield from (used, total, heat)


def _drift(snapshot: Snapshot) -> Iterator[Metric]:
    what = "Bone age minus chronological age of the newest estimates, by sex: "
    mean = GaugeMetricFamily("boneage_drift_mean_months", what + "mean.", labels=("sex",))
    middle = GaugeMetricFamily("boneage_drift_median_months", what + "median.", labels=("sex",))
    count = GaugeMetricFamily("boneage_drift_estimates", what + "how many.", labels=("sex",))
    moved = GaugeMetricFamily(
        "boneage_drift_shift_months",
        "By how much the mean has moved against the estimates before; 0: not beyond chance.",
        labels=("sex",),
    )
    for one in snapshot.drift:
        mean.add_metric((one.sex,), one.mean_months)
        middle.add_metric((one.sex,), one.median_months)
        count.add_metric((one.sex,), one.count)
        shift = shift_months(one)
        moved.add_metric((one.sex,), 0 if shift is None else shift)
    yield from (mean, middle, count, moved)


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
