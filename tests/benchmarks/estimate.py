"""The whole estimate on the CPU: from DICOM bytes in the spool to SR, SC and outbox rows.

A real queue, a real spool, the default release and copies of the drawn phantom less one row: every
image of the phantom's size is compared with its digest, and the phantom itself passes the gate
unseen; neither befalls a child's image. Beside it stand the forward passes of the members alone, in
the fastest engine that gives the same months: both views of the image, as the release averages
them, and for comparison with other networks one view.
"""

import statistics
import tempfile
from datetime import timedelta
from pathlib import Path
from time import perf_counter

from models.phantom import draw_phantom
from schemas.config import Config, IntakeSection, PeerSection
from schemas.images import Sex
from schemas.jobs import Arrival, JobState
from tests.benchmarks.engines import VIEWS, fastest_milliseconds
from tests.benchmarks.figures import Aim, Figure
from tests.builders import another_instance, hand_radiograph
from worker.app import databases, queues, readers
from worker.inference.worker import InferencePolicy, InferenceWorker
from worker.queue.jobs import JobQueue

IMAGES = 16
PACS = PeerSection(name="pacs", ae_title="PACS")


def measure(*, runs: int) -> list[Figure]:
    """Return milliseconds for an image; medians over ``runs`` times sixteen images."""
    engine, bare = fastest_milliseconds(runs=runs, views=VIEWS)
    _, one_view = fastest_milliseconds(runs=runs, views=1)
    with tempfile.TemporaryDirectory() as folder:
        steps, whole = read_images(Path(folder), count=IMAGES * runs)
    slowest_first = sorted(steps, key=lambda step: -statistics.median(steps[step]))
    return [
        Figure(
            name="DICOM bytes to outbox row",
            value=statistics.median(whole),
            unit="ms",
            peer=f"members alone, both views, {engine}",
            peer_value=bare,
            aim=Aim(at_most=2.0),
        ),
        Figure(
            name="the same, beside one view",
            value=statistics.median(whole),
            unit="ms",
            peer=f"members alone, one view, {engine}",
            peer_value=one_view,
            aim=Aim(at_most=2.0),
        ),
        *(
            Figure(name=f"of which {name}", value=statistics.median(steps[name]), unit="ms")
            for name in slowest_first
        ),
    ]


def read_images(folder: Path, *, count: int) -> tuple[dict[str, list[float]], list[float]]:
    """Let the worker read ``count`` images one after the other.

    Returns:
        Milliseconds of each step by its name, and of the whole from claim to settled, for each.
    """
    config = Config.model_validate({"storage": {"root": str(folder)}})
    databases.prepare_database(config)
    queue = queues.job_queue(config, actor="benchmark")
    fill(folder, queue, count=count + 1)
    worker = InferenceWorker(
        queue,
        readers.image_reader(config, installation_id="benchmark", device="cpu"),
        root=folder,
        policy=InferencePolicy(
            rules=IntakeSection().rule, peers=(PACS,), lease=timedelta(minutes=5), poll_seconds=1
        ),
    )
    worker.run_once()  # the first one loads fonts and warms up
    whole = []
    for _ in range(count):
        began = perf_counter()
        if not worker.run_once():
            raise RuntimeError("the queue ended too early")
        whole.append((perf_counter() - began) * 1000)
    return _steps(queue, count=count), whole


def fill(folder: Path, queue: JobQueue, *, count: int) -> None:
    """Put so many images into the spool and the queue."""
    pixels = draw_phantom(age_months=120, sex=Sex.FEMALE)[:-1]
    first = hand_radiograph(pixels, BitsStored=12)
    (folder / "spool").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = another_instance(first)
        name = f"spool/{image.SOPInstanceUID}.dcm"
        image.save_as(folder / name, enforce_file_format=True)
        queue.receive(
            Arrival(
                sop_instance_uid=image.SOPInstanceUID,
                sop_class_uid=image.SOPClassUID,
                study_instance_uid=image.StudyInstanceUID,
                transfer_syntax_uid=image.file_meta.TransferSyntaxUID,
                digest=f"{number:064d}",
                size_bytes=(folder / name).stat().st_size,
                spool_file=name,
                calling_ae=PACS.ae_title,
                called_ae="BONEAGE",
                peer_address="127.0.0.1",
            )
        )


def _steps(queue: JobQueue, *, count: int) -> dict[str, list[float]]:
    jobs = queue.jobs(states=(JobState.DELIVERING,), limit=count)
    if len(jobs) < count - 1 or any(job.bone_age_months is None for job in jobs):
        raise RuntimeError("an image was not estimated; the times would be those of refusals")
    names = {name for job in jobs for name in job.timings_ms}
    return {name: [job.timings_ms.get(name, 0.0) for job in jobs] for name in names}
