"""A process that delivers until it is killed: ROOT PORT MINUTES (how far its clock is ahead)."""

import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.worker.delivery.owing import SECTION, peer
from worker.delivery.deliverer import Deliverer
from worker.delivery.objects import ResultFiles
from worker.logs import configure_logging, silence_libraries
from worker.queue.database import open_engine, sqlite_url
from worker.queue.outbox import Outbox
from worker.reporting.structured_report import build_structured_report


def main(root: Path, *, port: int, ahead: timedelta) -> None:
    configure_logging()
    silence_libraries()

    def now() -> datetime:
        return datetime.now(UTC) + ahead

    Deliverer(
        Outbox(open_engine(sqlite_url(root)), now=now, actor="deliver"),
        peers=[peer("pacs", port)],
        ae_title="BONEAGE",
        files=ResultFiles(root, build=build_structured_report),
        section=SECTION,
        now=now,
    ).run(threading.Event())


if __name__ == "__main__":
    main(Path(sys.argv[1]), port=int(sys.argv[2]), ahead=timedelta(minutes=float(sys.argv[3])))
