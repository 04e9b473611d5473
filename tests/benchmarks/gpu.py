"""No GPU was found, so nothing is said about one; with one: `infer` in batches beside its networks.

The queue is full, the images are copies of the drawn phantom with one pixel changed, and the way is
the whole one: from the DICOM file in the spool to the settled job, with page and files.
"""

import statistics
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from models.asking import Answer, Prepared
from models.ensemble import Ensemble
from models.phantom import draw_phantom
from models.release.load import LoadedRelease, load_release
from schemas.config import Config, IntakeSection
from schemas.estimates import HandImage
from schemas.images import Sex
from schemas.jobs import JobState
from schemas.site_profile import default_profile
from tests.benchmarks.engines import RELEASE, VIEWS
from tests.benchmarks.estimate import PACS, fill
from tests.benchmarks.figures import Aim, Figure
from tests.orthanc import wait_for
from worker.app import clock, databases, queues
from worker.inference.batches import Batches
from worker.inference.estimate import ImageReader
from worker.inference.worker import InferencePolicy, InferenceWorker

Say = Callable[[], list[Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is measured, and how often."""

    device: str
    release: str | Path = RELEASE
    batch: int = 32  #: images in hand, and images of a bare forward pass
    images: int = 512  #: in the full queue
    calls: int = 30  #: medians over so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A full queue, read to its end."""

    images_a_second: float
    asking: float  #: share of the time in which the networks were asked
    kernels: float  #: share of the time in which the GPU computed; 0 on a processor
    mean_batch: float


class WatchedEnsemble(Ensemble):
    """Writes down how long its networks are asked, and for how many images each time."""

    def __init__(self, release: LoadedRelease) -> None:
        super().__init__(release)
        self.seconds, self.batches = 0.0, [0]

    def ask(self, prepared: Sequence[Prepared]) -> list[Answer]:
        began = perf_counter()
        answers = super().ask(prepared)
        self.seconds += perf_counter() - began
        self.batches.append(len(prepared))
        return answers


def measure(*, runs: int) -> list[Figure]:
    """Return the figures of the first GPU; nothing without one."""
    if not torch.cuda.is_available():
        return []
    return measure_on(Trial(device="cuda", calls=10 * runs), name=torch.cuda.get_device_name())


def measure_on(trial: Trial, *, name: str) -> list[Figure]:
    """Return the figures of one device, which is called ``name``."""
    ensemble = WatchedEnsemble(load_release(trial.release, device=trial.device))
    bare = _bare(ensemble, trial)
    with tempfile.TemporaryDirectory() as folder:
        rate = read_full_queue(Path(folder), ensemble, trial)
    images = [_image()] * trial.batch
    prepared = [ensemble.prepare(image) for image in images]
    limit = f"bare forward passes, both views, batch {trial.batch}"

    def beside_bare(what: str, images_a_second: float, aim: Aim | None = None) -> Figure:
        return Figure(
            name=f"{what}, {name}",
            value=images_a_second,
            unit="images/s",
            peer=limit,
            peer_value=trial.batch / bare[0].seconds,
            aim=aim,
        )

    asking = _seconds(lambda: ensemble.ask(prepared), trial)
    reading = _seconds(lambda: ensemble.read(images), trial)
    busy = rate.kernels or rate.asking
    batches = Batches(ensemble)
    return [
        beside_bare(f"infer, {trial.batch} in hand", rate.images_a_second, Aim(at_least=0.8)),
        Figure(name="idle with a full queue", value=1 - busy, unit="share", aim=Aim(at_most=0.2)),
        Figure(name="mean batch", value=rate.mean_batch, unit="images"),
        Figure(
            name="a lone image among readers",
            value=1000 * _seconds(lambda: batches.read(images[:1]), trial),
            unit="ms",
            peer="the same image without them",
            peer_value=1000 * _seconds(lambda: ensemble.read(images[:1]), trial),
            aim=Aim(at_most=1.1),
        ),
        beside_bare("networks with heatmap", trial.batch / asking),
        beside_bare("prepared, asked and finished in one thread", trial.batch / reading),
        *(figure for one in bare[1:] for figure in one.figures(bare[0], trial)),
    ]


def read_full_queue(folder: Path, ensemble: WatchedEnsemble, trial: Trial) -> Rate:
    """Let the worker read a full queue to its end; the first images warm it up."""
    config = Config.model_validate({"storage": {"root": str(folder)}})
    databases.prepare_database(config)
    queue = queues.queue_on(
        config, databases.engine(config), actor="benchmark", release=ensemble.release.name
    )
    reader = ImageReader(
        estimator=Batches(ensemble),
        profile=default_profile(),
        installation_id="benchmark",
        software_version="0",
        now=clock.now,
    )
    policy = InferencePolicy(
        rules=IntakeSection().rule,
        peers=(PACS,),
        lease=timedelta(minutes=5),
        poll_seconds=0.01,
        images_at_once=trial.batch,
    )

    def read_all(count: int) -> None:
        fill(folder, queue, count=count)
        stop = threading.Event()
        worker = InferenceWorker(queue, reader, root=folder, policy=policy)
        running = threading.Thread(target=worker.run, args=(stop,))
        running.start()
        on_its_way = (JobState.QUEUED, JobState.RUNNING)
        wait_for(lambda: not any(queue.counts()[one] for one in on_its_way), limit_seconds=3600)
        stop.set()
        running.join()

    read_all(trial.batch)
    ensemble.seconds, ensemble.batches = 0.0, []
    with profile(activities=_activities(trial)) as watched:
        began = perf_counter()
        read_all(trial.images)
        seconds = perf_counter() - began
    if queue.counts()[JobState.DELIVERING] != trial.batch + trial.images:
        raise RuntimeError(f"not every image has a result: {queue.counts()}")
    computed = sum(one.self_device_time_total for one in watched.key_averages()) / 1e6
    return Rate(
        images_a_second=trial.images / seconds,
        asking=ensemble.seconds / seconds,
        kernels=computed / seconds,
        mean_batch=statistics.mean(ensemble.batches),
    )


def _activities(trial: Trial) -> list[ProfilerActivity]:
    """Kernels on a GPU; on a processor the profiler has nothing to add, but is run all the same."""
    return [ProfilerActivity.CPU if trial.device == "cpu" else ProfilerActivity.CUDA]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """All networks alone in one way, on a batch of both views of each image."""

    way: str
    seconds: float
    months: Tensor  #: ``(member, view)``

    def figures(self, plain: "Bare", trial: Trial) -> list[Figure]:
        """Return its speed beside the plain way, and how far its months are from it."""
        apart = float((self.months - plain.months).abs().max())
        return [
            Figure(
                name=f"bare networks, {self.way}",
                value=trial.batch / self.seconds,
                unit="images/s",
                peer=plain.way,
                peer_value=trial.batch / plain.seconds,
            ),
            Figure(name=f"answer, {self.way}", value=apart, unit="months", aim=Aim(at_most=0.05)),
        ]


def _bare(ensemble: Ensemble, trial: Trial) -> list[Bare]:
    """Return the networks as the product runs them, and then in each way that could be faster."""
    made = torch.Generator().manual_seed(1)
    views = VIEWS * trial.batch
    inputs = [
        torch.randn((views, 1, one.entry.input_size, one.entry.input_size), generator=made)
        .to(trial.device)
        .contiguous(memory_format=torch.channels_last)
        for one in ensemble.members
    ]
    sex = torch.ones((views, 1), device=trial.device)

    def say() -> list[Tensor]:
        pairs = zip(ensemble.members, inputs, strict=True)
        return [one.network(batch, sex) for one, batch in pairs]

    def say_in_bfloat16() -> list[Tensor]:
        with torch.autocast(trial.device, torch.bfloat16):
            return say()

    ways: list[tuple[str, Say]] = [
        ("float32, channels_last", say),
        ("bfloat16, channels_last", say_in_bfloat16),
    ]
    with torch.inference_mode():
        if trial.device != "cpu":
            ways.append(("float32, CUDA graph", _graphed(say)))
            ways.append(("bfloat16, CUDA graph", _graphed(say_in_bfloat16)))
        return [
            Bare(
                way=way,
                months=torch.stack([one.float().cpu() for one in ask()]),
                seconds=_seconds(ask, trial),
            )
            for way, ask in ways
        ]


def _graphed(say: Say) -> Say:
    """Return the same as one launch; its inputs lie where they lay when it was recorded."""
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch has no types here
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # what is recorded must have run before, on another stream
        for _ in range(3):
            say()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        said = say()

    def replay() -> list[Tensor]:
        graph.replay()
        return said

    return replay


def _image() -> HandImage:
    pixels = draw_phantom(age_months=120, sex=Sex.FEMALE).astype(np.float32)
    return HandImage(pixels=pixels, sexes=(Sex.FEMALE,))


def _seconds(action: Callable[[], object], trial: Trial) -> float:
    action()
    return statistics.median(_once(action, trial) for _ in range(trial.calls))


def _once(action: Callable[[], object], trial: Trial) -> float:
    _finish(trial)
    began = perf_counter()
    action()
    _finish(trial)
    return perf_counter() - began


def _finish(trial: Trial) -> None:
    if trial.device != "cpu":
        torch.cuda.synchronize(trial.device)
