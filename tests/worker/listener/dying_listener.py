"""A listener process that kills itself, as a power cut would, at the step it is told.

Run as ``python -m tests.worker.listener.dying_listener ROOT STEP [SETTINGS]``; it prints its
port. STEP is "before_rename", "before_commit", "after_commit" or "never", SETTINGS is [listener] as
a JSON object.
"""

import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from schemas.config import ListenerSection, PeerSection, StorageSection
from schemas.jobs import Arrival, Receipt
from tests.worker.listener.conftest import RETRY
from worker.listener.process import run
from worker.listener.scp import Listener
from worker.listener.spool import IncomingFile, KeptFile, Spool
from worker.logs import configure_logging
from worker.queue.database import open_engine, sqlite_url
from worker.queue.jobs import JobQueue


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingQueue(JobQueue):
    """Dies before or after it has committed a reception."""

    step = "never"

    def receive(self, arrival: Arrival) -> Receipt:
        if self.step == "before_commit":
            die()
        receipt = super().receive(arrival)
        if self.step == "after_commit":
            die()
        return receipt


class DyingSpool(Spool):
    """Dies before a whole object gets its name."""

    step = "never"

    def keep(self, incoming: IncomingFile, *, sop_instance_uid: str) -> KeptFile:
        if self.step == "before_rename":
            die()
        return super().keep(incoming, sop_instance_uid=sop_instance_uid)


class TellingListener(Listener):
    """Says on which port it listens."""

    def start(self) -> None:
        super().start()
        sys.stdout.write(f"{self.port}\n")
        sys.stdout.flush()


def main(root: Path, step: str, settings: str = "{}") -> None:
    configure_logging(json_lines=True)
    queue = DyingQueue(
        open_engine(sqlite_url(root)),
        now=lambda: datetime.now(tz=UTC),
        actor="listen",
        release="r1",
        retry=RETRY,
    )
    queue.step = step
    spool = DyingSpool(StorageSection(root=root, high_mark_percent=100))
    spool.step = step
    listener = TellingListener(
        ListenerSection.model_validate({"port": 0, **json.loads(settings)}),
        peers=[PeerSection(name="PACS", ae_title="PACS")],
        spool=spool,
        queue=queue,
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run(listener, stop=stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
