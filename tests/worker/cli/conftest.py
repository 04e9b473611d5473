from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.worker.queue.conftest import Database, database, empty_sqlite, server
from tests.worker.queue.makers import RETRY, arrival, claimed
from worker.cli.application import main
from worker.queue.database import open_engine
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

__all__ = ["database", "empty_sqlite", "server"]

Run = Callable[..., str]


class Room:
    """An installation with jobs, on either database."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.root = folder / "storage"
        self.root.mkdir()
        self.settings = folder / "config.toml"
        url = f'[database]\nurl = "{database.url}"\n'
        self.settings.write_text(f'[storage]\nroot = "storage"\n{url}')
        self.engine: Engine = open_engine(database.url)
        self.clock = database.clock
        self.queue = JobQueue(
            self.engine, now=database.clock, actor="test", release="r1", retry=RETRY
        )
        self.outbox = Outbox(self.engine, now=database.clock, actor="test")

    def fail(self, uid: str) -> None:
        self.queue.receive(arrival(uid))
        self.queue.fail(claimed(self.queue), code="spool.broken", message="It is damaged.")


@pytest.fixture
def room(tmp_path: Path, database: Database) -> Iterator[Room]:
    folder = tmp_path / "room"
    folder.mkdir()
    room = Room(folder, database)
    yield room
    room.engine.dispose()


@pytest.fixture
def run(room: Room, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command as an operator does, in this process, and return what it printed."""
    for name in ("silence_libraries", "configure_logging"):
        monkeypatch.setattr(f"worker.cli.options.{name}", lambda **_: None)
    opened: list[Engine] = []

    def open_and_note(url: str) -> Engine:
        opened.append(open_engine(url))
        return opened[-1]

    monkeypatch.setattr("worker.queue.database.open_engine", open_and_note)

    def run(*arguments: str, expect: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--config", str(room.settings)])
        while opened:
            opened.pop().dispose()
        printed = capsys.readouterr()
        assert (ended.value.code or 0) == expect, printed.out + printed.err
        return printed.out + printed.err

    return run
