"""A real server on the loopback, in front of a real database with jobs of every fate in it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette

from schemas.config import Config, DatabaseSection
from schemas.jobs import Outcome
from schemas.refusals import IgnoreReason
from tests.fakes import Clock
from tests.worker.queue.makers import RETRY, arrival, claimed, send_all, settled, taken
from worker.app import clock, web
from worker.http.server import HttpServer
from worker.queue.database import DATABASE_FILE, open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox
from worker.queue.periodic import PeriodicRuns

TOKEN = "a-token-that-only-tests-know-0123456789"  # noqa: S105
CANARY = "Canary^Clementine"
IGNORED = next(iter(IgnoreReason))

Serve = Callable[..., httpx.Client]


@dataclass(kw_only=True)
class Room:
    """A storage folder with its database, and the settings that lead there."""

    root: Path
    engine: Engine
    config: Config
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.queue = JobQueue(self.engine, now=self.clock, actor="test", release="r1", retry=RETRY)
        self.outbox = Outbox(self.engine, now=self.clock, actor="test")

    def fill(self) -> None:
        """Let one image of every fate come, with a name in every text that a person may write."""
        settled(self.queue, uid="1.1", chronological_age_months=118.0)
        send_all(self.outbox)
        refusal = {"outcome": Outcome.REFUSED, "reason": "not_a_hand", "bone_age_months": None}
        settled(self.queue, uid="1.2", interval_months=None, sex=None, **refusal)
        away = f"no answer {CANARY}"
        self.outbox.retry(taken(self.outbox), delay=timedelta(hours=1), status=None, error=away)
        self.queue.receive(arrival("1.3"))
        self.queue.settle_ignored(claimed(self.queue), reason=IGNORED)
        self.queue.receive(arrival("1.4"))
        self.queue.fail(claimed(self.queue), code="spool.missing", message=f"gone: {CANARY}")
        self.queue.receive(arrival("1.5"))
        self.queue.cancel(5, reason=f"{CANARY} is not ours")
        self.queue.receive(arrival("1.6"))
        PeriodicRuns(self.engine, now=self.clock).note("seal", is_success=True)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    engine = open_engine(sqlite_url(folder))
    upgrade(engine, backup_folder=None)
    engine.dispose()
    return folder / DATABASE_FILE


@pytest.fixture
def room(tmp_path: Path, empty_database: Path) -> Iterator[Room]:
    shutil.copy(empty_database, tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    settings = {
        "peer": [{"name": "PACS", "ae_title": "PACS"}, {"name": "archive", "ae_title": "ARC"}],
        # other programs may have filled this disk: no matter here
        "storage": {"root": tmp_path, "high_mark_percent": 100, "low_mark_percent": 99},
        "http": {"enabled": True, "port": 0, "token_file": tmp_path / "token"},
    }
    engine = open_engine(sqlite_url(tmp_path))
    yield Room(root=tmp_path, engine=engine, config=Config.model_validate(settings))
    engine.dispose()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server for an application, and return a client of it."""
    running: list[tuple[HttpServer, httpx.Client]] = []

    def start(application: Starlette) -> httpx.Client:
        server = HttpServer(application, host="127.0.0.1", port=0)
        server.start()
        client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60)
        running.append((server, client))
        return client

    yield start
    for server, client in running:
        client.close()
        server.stop()


@pytest.fixture
def client_without_database(room: Room, serve: Serve) -> httpx.Client:
    """A client of a server whose database does not answer."""
    away = DatabaseSection(url="postgresql+psycopg://boneage@/x?host=/nowhere")
    return serve(web.http_application(room.config.model_copy(update={"database": away})))


@pytest.fixture
def client(room: Room, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """A client without the token, of the application as the process serves it."""
    monkeypatch.setattr(clock, "utc_now", room.clock)
    monkeypatch.setattr(clock, "now", room.clock)
    return serve(web.http_application(room.config))
