"""How long a radiograph takes: from our C-STORE response to the report stored in the PACS.

    python -m tests.benchmarks.turnaround

Sends the sixteen files of the system test to a real Orthanc, which routes them to the worker:
once one after the other, then all at once. Both times are the worker's own: `received_at` is
taken just before its Success goes out, `sent_at` when the PACS has answered Success to the report.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from schemas.jobs import JobState, JobView, ObjectKind
from tests.orthanc import Modality, Orthanc, free_port
from tests.system.radiographs import SentFile, storescu, write_radiographs
from tests.system.running import RunningWorker


def main() -> None:
    """Print the median and the worst of both ways."""
    for name, is_one_by_one in (("one after the other", True), ("all at once", False)):
        with tempfile.TemporaryDirectory() as folder:
            jobs = _run(Path(folder), is_one_by_one=is_one_by_one)
        seconds = sorted(_report_seconds(job) for job in jobs)
        sys.stdout.write(
            f"{name}: {len(seconds)} images, median {statistics.median(seconds):.2f} s, "
            f"worst {seconds[-1]:.2f} s\n"
        )
        sys.stdout.write(f"  steps, median ms: {_steps(jobs)}\n")


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


def _steps(jobs: Sequence[JobView]) -> str:
    names = dict.fromkeys(name for job in jobs for name in job.timings_ms)
    return ", ".join(
        f"{name} {statistics.median(job.timings_ms.get(name, 0) for job in jobs):.0f}"
        for name in names
    )


if __name__ == "__main__":
    main()
