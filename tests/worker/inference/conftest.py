from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from schemas.assessments import SiteProfile
from schemas.config import IntakeSection, PeerSection
from schemas.jobs import Arrival, JobView, Receipt, RetryPolicy
from schemas.results import CONTENT_FILE, ResultContent
from schemas.site_profile import default_profile
from tests.builders import write_file
from tests.fakes import Clock, StubEstimator
from worker.inference.estimate import ImageReader
from worker.inference.worker import InferencePolicy, InferenceWorker
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue

PACS = PeerSection(name="pacs", ae_title="PACS")
LEASE = timedelta(seconds=60)
RETRY = RetryPolicy(
    attempts=3, first_delay=timedelta(seconds=5), factor=2, longest_delay=timedelta(minutes=1)
)
POLICY = InferencePolicy(
    rules=IntakeSection().rule, peers=(PACS,), lease=LEASE, poll_seconds=0.05, grace_seconds=0
)


def image_reader(
    estimator: StubEstimator | None = None,
    *,
    clock: Clock | None = None,
    profile: SiteProfile | None = None,
) -> ImageReader:
    return ImageReader(
        estimator=estimator or StubEstimator(),
        profile=profile or default_profile(),
        installation_id="test",
        software_version="0.0",
        now=clock or Clock(),
    )


@dataclass
class Room:
    """A storage folder, a real queue in it, and a worker that reads from it."""

    root: Path
    queue: JobQueue
    clock: Clock
    policy: InferencePolicy = POLICY
    received: int = field(default=0)

    def receive(
        self, dataset: Dataset, *, calling_ae: str = "PACS", syntax: UID = ExplicitVRLittleEndian
    ) -> Receipt:
        """Keep an object as the listener does."""
        self.received += 1
        spool_file = f"spool/{self.received}.dcm"
        if dataset.file_meta.TransferSyntaxUID == syntax:
            (self.root / "spool").mkdir(exist_ok=True)
            dataset.save_as(self.root / spool_file, enforce_file_format=True)
        else:
            write_file(dataset, self.root / spool_file, transfer_syntax=syntax)
        return self.queue.receive(
            Arrival(
                sop_instance_uid=dataset.SOPInstanceUID,
                sop_class_uid=dataset.SOPClassUID,
                study_instance_uid=dataset.get("StudyInstanceUID", ""),
                transfer_syntax_uid=syntax,
                digest=f"{self.received:064d}",
                size_bytes=1,
                spool_file=spool_file,
                calling_ae=calling_ae,
                called_ae="BONEAGE",
                peer_address="127.0.0.1",
            )
        )

    def worker(self, estimator: StubEstimator | None = None) -> InferenceWorker:
        return InferenceWorker(
            self.queue,
            image_reader(estimator, clock=self.clock),
            root=self.root,
            policy=self.policy,
        )

    def work(self, estimator: StubEstimator | None = None) -> JobView:
        """Let a worker try once, whatever waits; return the newest job."""
        self.clock.forward(minutes=2)
        assert self.worker(estimator).run_once()
        return self.queue.jobs()[0]

    def content(self, job: JobView) -> ResultContent:
        assert job.result_folder is not None
        return ResultContent.from_json((self.root / job.result_folder / CONTENT_FILE).read_bytes())


@pytest.fixture
def room(tmp_path: Path) -> Room:
    engine = open_engine(sqlite_url(tmp_path))
    upgrade(engine, backup_folder=None)
    clock = Clock()
    queue = JobQueue(engine, now=clock, actor="infer", release="stub", retry=RETRY)
    return Room(root=tmp_path, queue=queue, clock=clock)


@pytest.fixture
def read() -> Callable[..., ImageReader]:
    return image_reader
