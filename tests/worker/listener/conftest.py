from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from schemas.config import ListenerSection, PeerSection, StorageSection
from schemas.jobs import JobEvent, JobView, RetryPolicy
from tests.fakes import Clock
from worker.listener.scp import Listener
from worker.listener.spool import Spool
from worker.queue.audit import AuditTrail
from worker.queue.jobs import JobQueue

RETRY = RetryPolicy(
    attempts=3, first_delay=timedelta(seconds=1), factor=2, longest_delay=timedelta(minutes=1)
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """One storage root, its queue, and a listener that is on."""

    root: Path
    queue: JobQueue
    spool: Spool
    listener: Listener
    engine: Engine
    clock: Clock

    @property
    def port(self) -> int:
        return self.listener.port

    @property
    def jobs(self) -> list[JobView]:
        return self.queue.jobs()

    @property
    def kept(self) -> list[Path]:
        return sorted((self.root / "spool").rglob("*.dcm"))

    @property
    def halves(self) -> list[Path]:
        return sorted((self.root / "incoming").iterdir())

    @property
    def events(self) -> list[JobEvent]:
        """Return the audit trail, oldest first."""
        return list(AuditTrail(self.engine, now=self.clock).list())


StartSite = Callable[..., Site]


@pytest.fixture
def start_site(tmp_path: Path, engine: Engine) -> Iterator[StartSite]:
    """Start a listener on a free port; its settings are those given, else the defaults."""
    started: list[Listener] = []

    def start(
        *,
        queue: JobQueue | None = None,
        senders: tuple[str, ...] = ("PACS",),
        peers: tuple[PeerSection, ...] = (),
        **settings: object,
    ) -> Site:
        clock = Clock()
        queue = queue or JobQueue(engine, now=clock, actor="listen", release="r1", retry=RETRY)
        marks: dict[str, object] = {"high_mark_percent": 100, "low_mark_percent": 100}
        marks |= {key: settings.pop(key) for key in marks if key in settings}
        spool = Spool(StorageSection.model_validate({"root": tmp_path, **marks}))
        listener = Listener(
            ListenerSection.model_validate({"port": 0, **settings}),
            peers=peers or [PeerSection(name=title, ae_title=title) for title in senders],
            spool=spool,
            queue=queue,
        )
        started.append(listener)
        listener.start()
        return Site(
            root=tmp_path, queue=queue, spool=spool, listener=listener, engine=engine, clock=clock
        )

    yield start
    for listener in started:
        listener.stop()


@pytest.fixture
def site(start_site: StartSite) -> Site:
    return start_site()
