"""Finished results that are owed to destinations, in a real database and a real folder."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from sqlalchemy import Engine

from schemas.config import DeliverySection, PeerSection, SrClass
from schemas.jobs import (
    JobState,
    JobView,
    NewOutput,
    NewResult,
    ObjectKind,
    OutboxOrder,
)
from schemas.results import CAPTURE_FILE, CONTENT_FILE, HEADER_FILE, ResultContent
from tests.builders import hand_radiograph
from tests.fakes import Clock
from tests.worker.queue.makers import RETRY, arrival, claimed, result
from tests.worker.reporting.contents import estimated, refused
from worker.delivery.deliverer import Deliverer
from worker.delivery.objects import ResultFiles
from worker.files import write_durably
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox
from worker.reporting.secondary_capture import build_secondary_capture
from worker.reporting.structured_report import build_structured_report

SECTION = DeliverySection(lease_seconds=60, connect_timeout_seconds=5, poll_seconds=0.02)
PAGE = np.full((60, 80, 3), 200, dtype=np.uint8)


def peer(
    name: str, port: int, *, ae_title: str = "PACS", sr_classes: Sequence[SrClass] = ()
) -> PeerSection:
    classes = {"sr_classes": tuple(sr_classes)} if sr_classes else {}
    return PeerSection(name=name, ae_title=ae_title, port=port, **classes)


@dataclass(frozen=True, kw_only=True)
class Owing:
    """The house between inference and delivery."""

    root: Path
    engine: Engine
    clock: Clock

    @property
    def queue(self) -> JobQueue:
        return JobQueue(self.engine, now=self.clock, actor="infer", release="r", retry=RETRY)

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.engine, now=self.clock, actor="deliver")

    def owe(
        self,
        *destinations: str,
        kinds: Sequence[ObjectKind] = (ObjectKind.SR, ObjectKind.SC),
        is_refusal: bool = False,
        **header: object,
    ) -> tuple[JobView, Dataset]:
        """Return a job whose objects are owed to ``destinations``, and its image."""
        uids = {f"{each}InstanceUID": generate_uid() for each in ("SOP", "Series", "Study")}
        image = hand_radiograph(**{**uids, **header})
        content = refused(image) if is_refusal else estimated(image)
        self.queue.receive(arrival(image.SOPInstanceUID, study_instance_uid=image.StudyInstanceUID))
        claim = claimed(self.queue)
        folder = f"results/{claim.job_id}/{claim.revision}"
        capture = write_result(self.root / folder, image, content)
        output = NewOutput(
            kind=ObjectKind.SC,
            sop_class_uid=capture.SOPClassUID,
            sop_instance_uid=capture.SOPInstanceUID,
        )
        new: NewResult = result(
            claim,
            outcome=content.outcome,
            result_folder=folder,
            outputs=(output,),
            orders=tuple(
                OutboxOrder(kind=kind, destination=each) for each in destinations for kind in kinds
            ),
        )
        self.queue.settle(claim, new)
        return self.queue.job(claim.job_id), image

    def deliverer(self, *peers: PeerSection, section: DeliverySection = SECTION) -> Deliverer:
        return Deliverer(
            self.outbox,
            peers=peers,
            ae_title="BONEAGE",
            files=ResultFiles(self.root, build=build_structured_report),
            section=section,
            now=self.clock,
        )

    def deliver_all(self, deliverer: Deliverer) -> None:
        """Deliver what is due now; what is put off stays."""
        while deliverer.run_once():
            pass

    def state(self, job: JobView) -> JobState:
        return self.queue.job(job.job_id).state


def write_result(folder: Path, image: Dataset, content: ResultContent) -> Dataset:
    """Write what inference leaves behind; return the capture."""
    capture = build_secondary_capture(content, image, PAGE)
    header = copy.deepcopy(image)
    del header.PixelData
    for name, dataset in ((HEADER_FILE, header), (CAPTURE_FILE, capture)):
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        write_durably(folder / name, buffer.getvalue())
    write_durably(folder / CONTENT_FILE, content.to_json())
    return capture
