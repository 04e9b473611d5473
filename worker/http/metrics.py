"""What Prometheus scrapes. Labels are states, codes, releases and names of peers; no UID, ever."""

import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Final, Generic, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.errors import TransientError
from worker.health.checks import Health
from worker.logs import log
from worker.queue.lateness import LATE_NUMBERS

#: seconds; a CPU reads an image in about a second, a GPU in a tenth of it
_STAGE_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: months; two standard deviations are about 24 (Brush Foundation, mid childhood)
_DIFFERENCE_BUCKETS: Final = (-48, -36, -24, -18, -12, -6, 0, 6, 12, 18, 24, 36, 48)
_BATCH: Final = 2000
#: what a scrape spends on counting, at most; Prometheus gives it ten seconds
_COUNTING_SECONDS: Final = 1.0

_Row = TypeVar("_Row")


class Metrics:
    """The counters and gauges of one process, brought up to date at each scrape."""

    def __init__(self, health: Health, gauges: Collector) -> None:
        """``gauges`` are shown beside what is counted here."""
        figures = health.figures
        self._lock = threading.Lock()
        self._gauges = CollectorRegistry(auto_describe=False)
        self._gauges.register(gauges)
        self._counts = CollectorRegistry(auto_describe=False)
        self._is_whole = False  # has everything been counted that there was at the start?
        self._results = Counter(
            "boneage_results",
            "Results, by outcome and reason of refusal; the phantom apart.",
            ("outcome", "reason", "release", "is_phantom"),
            registry=self._counts,
        )
        self._endings = Counter(
            "boneage_endings",
            "Jobs that ended without a result: ignored or failed, by reason.",
            ("event", "reason"),
            registry=self._counts,
        )
        self._stages = Histogram(
            "boneage_stage_seconds",
            "How long each stage of one image took.",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=self._counts,
        )
        self._differences = Histogram(
            "boneage_difference_months",
            "Bone age minus chronological age, by sex; the phantom apart.",
            ("sex",),
            buckets=_DIFFERENCE_BUCKETS,
            registry=self._counts,
        )
        self._read_results = _Reader(figures.results_after, key=lambda row: row.result_id)
        self._read_endings = _Reader(figures.endings_after, key=lambda row: row.event_id)

    def exposition(self) -> bytes:
        """Return everything in the text format of Prometheus.

        A database that is away is ``boneage_database_up 0``, and what was counted stands still.
        After a start counters are shown once all results there are have been counted, which takes
        several scrapes of a very large database: one that climbs meanwhile would look like a flood.
        """
        with self._lock:
            try:
                self._count(until=monotonic() + _COUNTING_SECONDS)
            except TransientError as error:
                log.warning("metrics.database", code=error.code)
            shown = generate_latest(self._gauges)
            return shown + generate_latest(self._counts) if self._is_whole else shown

    def _count(self, *, until: float) -> None:
        for result in self._read_results.fresh(until=until):
            self._results.labels(
                outcome=result.outcome.value,
                reason=result.reason,
                release=result.release,
                is_phantom=str(result.is_phantom).lower(),
            ).inc()
            if result.difference_months is not None and result.sex and not result.is_phantom:
                self._differences.labels(sex=result.sex).observe(result.difference_months)
            for stage, milliseconds in result.timings_ms.items():
                self._stages.labels(stage=stage).observe(milliseconds / 1000)
        for ending in self._read_endings.fresh(until=until):
            self._endings.labels(event=ending.event, reason=ending.reason).inc()
        self._is_whole |= self._read_results.is_at_end and self._read_endings.is_at_end


def metrics_routes(metrics: Metrics) -> list[Route]:
    """Return the address of the metrics; it asks for no token."""

    def scrape(_request: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/metrics", scrape)]


class _Reader(Generic[_Row]):
    """Reads a table that only grows, from its first row on, each row once.

    From the first, because a counter that begins anew at every start would count nothing of what
    happened in between. So many numbers back are read again, for rows that were committed late, and
    what was counted is not counted twice.
    """

    def __init__(self, read: Callable[..., Sequence[_Row]], *, key: Callable[[_Row], int]) -> None:
        self._read = read
        self._key = key
        self._last = 0
        self._counted: set[int] = set()  # of the last numbers
        self.is_at_end = False

    def fresh(self, *, until: float) -> Iterator[_Row]:
        """Yield what was not yielded before, until a time of the monotonic clock."""
        self.is_at_end = False
        after = settled = max(0, self._last - LATE_NUMBERS)
        self._counted = {number for number in self._counted if number > settled}
        while rows := self._read(after, limit=_BATCH):
            before = self._last
            for row in rows:
                number = self._key(row)
                if number in self._counted:
                    continue
                self._counted.add(number)
                self._last = max(self._last, number)
                yield row
            after = self._key(rows[-1])
            if self._last > before and monotonic() >= until:
                return
        self.is_at_end = True
