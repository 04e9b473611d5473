"""A worker with four images in hand whose network ends the process on one of them: ROOT TIME.

It ends by itself when nothing is left to read.
"""

import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from schemas.estimates import HandImage, Reading
from schemas.jobs import Claim, JobState
from tests.fakes import Clock, StubEstimator
from tests.worker.inference.conftest import POLICY, RETRY, image_reader
from worker.inference.worker import InferenceWorker
from worker.queue.database import open_engine, sqlite_url
from worker.queue.jobs import JobQueue

POISON_LEVEL = 4095  #: the value of a pixel that no other image has
AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Poisoned(StubEstimator):
    """Waits until as many images are in hand as may be, and ends the process on the poisoned."""

    queue: JobQueue = field(kw_only=True)
    is_first: bool = field(kw_only=True)

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        if any(image.pixels.max() >= POISON_LEVEL for image in images):
            while self.is_first and len(self.queue.jobs(states=(JobState.RUNNING,))) < AT_ONCE:
                threading.Event().wait(0.01)
            os._exit(os.EX_SOFTWARE)
        if self.is_first:
            threading.Event().wait()  # in hand until the process ends
        return super().read(images)


class EndingQueue(JobQueue):
    """Sets ``over`` when a claim finds nothing."""

    over: threading.Event

    def claim(self, *, lease: timedelta) -> Claim | None:
        claim = super().claim(lease=lease)
        if claim is None:
            self.over.set()
        return claim


def main(root: Path, now: str) -> None:
    clock = Clock(datetime.fromisoformat(now))
    engine = open_engine(sqlite_url(root))
    queue = EndingQueue(engine, now=clock, actor="infer", release="stub", retry=RETRY)
    queue.over = threading.Event()
    is_first = all(job.attempt == 0 for job in queue.jobs())
    worker = InferenceWorker(
        queue,
        image_reader(Poisoned(queue=queue, is_first=is_first), clock=clock),
        root=root,
        policy=replace(POLICY, images_at_once=AT_ONCE, grace_seconds=60),
    )
    worker.run(queue.over)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
