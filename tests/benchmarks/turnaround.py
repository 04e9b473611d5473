"""Turnaround: from our C-STORE response to the report stored in the PACS.

Sends the sixteen files of the system test to a real Orthanc, which routes them to the worker:
once one after the other, then all at once. Both times are the worker's own: `received_at` is
taken just before its Success goes out, `sent_at` when the PACS has answered Success to the report.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from schemas.jobs import JobState, JobView, ObjectKind
from tests.benchmarks.figures import Aim, Figure
from tests.orthanc import Modality, Orthanc, free_port
from tests.system.radiographs import SentFile, storescu, write_radiographs
from tests.system.running import RunningWorker

MEDIAN_SECONDS = Aim(at_most=1.0)
NOT_COMPUTE_SECONDS = Aim(at_most=0.2)


def measure(*, runs: int) -> list[Figure]:
    """Return seconds from answer to report; over all images of ``runs`` fresh installations."""
    figures: list[Figure] = []
    for name, is_one_by_one in (("idle queue", True), ("all at once", False)):
        jobs: list[JobView] = []
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                jobs += _run(Path(folder), is_one_by_one=is_one_by_one)
        figures += _figures(name, jobs, is_idle=is_one_by_one)
    return figures


def _figures(name: str, jobs: Sequence[JobView], *, is_idle: bool) -> Iterator[Figure]:
    seconds = [_report_seconds(job) for job in jobs]
    rest = [
        whole - sum(job.timings_ms.values()) / 1000
        for whole, job in zip(seconds, jobs, strict=True)
    ]
    yield Figure(
        name=f"{name}, median",
        value=statistics.median(seconds),
        unit="s",
        aim=MEDIAN_SECONDS if is_idle else None,
    )
    yield Figure(name=f"{name}, 99th percentile", value=float(np.percentile(seconds, 99)), unit="s")
    if not is_idle:
        return
    yield Figure(
        name=f"{name}, not compute, median",
        value=statistics.median(rest),
        unit="s",
        aim=NOT_COMPUTE_SECONDS,
    )
    for step in dict.fromkeys(step for job in jobs for step in job.timings_ms):
        milliseconds = statistics.median(job.timings_ms.get(step, 0.0) for job in jobs)
        yield Figure(name=f"{name}, {step}, median", value=milliseconds / 1000, unit="s")


def _run(folder: Path, *, is_one_by_one: bool) -> list[JobView]:
    files = write_radiographs(folder / "modality")
    worker_port = free_port()
    pacs = Orthanc(
        folder / "pacs",
        modalities={"boneage": Modality("BONEAGE", worker_port)},
        route_to="boneage",
    )
    worker = RunningWorker(
        folder / "worker", pacs_ae=pacs.ae_title, pacs_port=pacs.port, port=worker_port
    )
    with worker, pacs:
        worker.start()
        worker.wait_for_log("inference.ready")  # the networks are loaded
        _send(files, pacs, worker, is_one_by_one=is_one_by_one)
        return worker.jobs(JobState.DELIVERED)


def _send(
    files: Sequence[SentFile], pacs: Orthanc, worker: RunningWorker, *, is_one_by_one: bool
) -> None:
    for number, file in enumerate(files, start=1):
        storescu(file, port=pacs.port, called_ae=pacs.ae_title)
        if is_one_by_one:
            worker.wait_for_jobs(JobState.DELIVERED, count=number)
    worker.wait_for_jobs(JobState.DELIVERED, count=len(files))


def _report_seconds(job: JobView) -> float:
    (report,) = (row for row in job.destinations if row.kind is ObjectKind.SR)
    if report.sent_at is None:
        raise RuntimeError("a delivered job without a sent report")
    return (report.sent_at - job.received_at).total_seconds()
