"""A worker whose network hangs on every image: ROOT, then "sleeping" or "holding" (the GIL).

"beside": as "holding", after other work in the same process has ended.
"""

import re
import sys
import threading
from datetime import timedelta
from pathlib import Path

from tests.fakes import Clock, StubEstimator
from tests.worker.inference.conftest import LEASE, POLICY, RETRY, image_reader
from worker.inference import heartbeat
from worker.inference.heartbeat import Limits
from worker.inference.worker import InferenceWorker
from worker.queue.database import open_engine, sqlite_url
from worker.queue.jobs import JobQueue


def sleep() -> None:
    threading.Event().wait()


def hold() -> None:
    """Run in C for centuries without letting another thread of Python run."""
    re.match("(a+)+$", "a" * 64 + "b")


def main(root: Path, how: str) -> None:
    clock = Clock()
    queue = JobQueue(
        open_engine(sqlite_url(root)), now=clock, actor="infer", release="stub", retry=RETRY
    )
    hang = {"sleeping": sleep, "holding": hold, "beside": hold}[how]
    if how != "sleeping":
        limits = Limits(lease=LEASE, deadline=timedelta(seconds=0.3), margin=timedelta(seconds=0.3))
        claim = queue.claim(lease=LEASE)
        if claim is None:
            raise SystemExit("nothing to hang on")
        stop = threading.Event()
        with heartbeat.Heartbeat(
            queue, claim, limits=limits, stop=stop, on_stuck=heartbeat.end_process
        ):
            if how == "beside":
                with heartbeat.Heartbeat(
                    queue, claim, limits=limits, stop=stop, on_stuck=heartbeat.end_process
                ):
                    pass
            hang()
    policy = POLICY.__class__(
        rules=POLICY.rules,
        peers=POLICY.peers,
        lease=LEASE,
        poll_seconds=0.05,
        deadline=timedelta(seconds=0.5),
    )
    reader = image_reader(StubEstimator(before_read=hang), clock=clock)
    InferenceWorker(queue, reader, root=root, policy=policy).run(threading.Event())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
