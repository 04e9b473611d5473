"""From the first schema to ours and back, with everything in it that a hospital has in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.config import Config, StorageSection
from schemas.errors import SchemaMismatchError
from schemas.jobs import JobState, Outcome
from schemas.refusals import IgnoreReason
from tests.worker.queue.makers import RETRY, arrival, claimed, send_all, settled
from tests.worker.queue.postgresql import Server, running_server
from worker.app import databases
from worker.app.clock import now
from worker.queue.audit import AuditTrail
from worker.queue.database import (
    check,
    downgrade,
    open_engine,
    require_current_schema,
    revisions,
    sqlite_url,
    upgrade,
)
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

FIRST = "0001"
KEY = b"k" * 32

Rows = dict[str, list[tuple[object, ...]]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def postgresql(server: Server) -> Iterator[str]:
    with server.other_database() as url:
        yield url


def queue_of(engine: Engine) -> JobQueue:
    return JobQueue(engine, now=now, actor="test", release="r1", retry=RETRY)


def fill(engine: Engine) -> None:
    """Let one image of every fate come; nothing in it that the first schema has no column for."""
    queue, outbox = queue_of(engine), Outbox(engine, now=now, actor="test")
    settled(queue, uid="1.1")
    send_all(outbox)
    settled(queue, uid="1.2", outcome=Outcome.REFUSED, reason="not_a_hand", bone_age_months=None)
    queue.receive(arrival("1.3"))
    queue.settle_ignored(claimed(queue), reason=IgnoreReason.NO_RULE)
    queue.receive(arrival("1.4"))
    queue.fail(claimed(queue), code="spool.missing", message="gone")
    queue.receive(arrival("1.5"))
    queue.cancel(5, reason="not ours")
    queue.receive(arrival("1.6"))


@pytest.fixture(params=["sqlite", "postgresql"])
def lived_in(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of the first schema with jobs of every fate and a sealed trail."""
    is_sqlite = request.param == "sqlite"
    url = sqlite_url(tmp_path) if is_sqlite else request.getfixturevalue("postgresql")
    engine = open_engine(url)
    upgrade(engine, backup_folder=None)
    fill(engine)
    AuditTrail(engine, now=now).seal(KEY, tmp_path / "anchor")
    downgrade(engine, FIRST, backup_folder=None)
    yield engine
    engine.dispose()


def rows_of(engine: Engine) -> Rows:
    """Read every row of the tables and columns of the first schema."""
    with engine.connect() as connection:
        tables = sa.MetaData()
        tables.reflect(connection)
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in tables.sorted_tables
        }


def test_an_upgrade_from_the_first_schema_keeps_every_row(lived_in: Engine, tmp_path: Path) -> None:
    before = rows_of(lived_in)
    upgrade(lived_in, backup_folder=tmp_path / "backups")

    require_current_schema(lived_in)
    assert check(lived_in) == ()
    assert len(before["jobs"]) == 6
    downgrade(lived_in, FIRST, backup_folder=None)
    assert rows_of(lived_in) == before


def test_an_upgraded_trail_is_still_sound(lived_in: Engine, tmp_path: Path) -> None:
    upgrade(lived_in, backup_folder=None)

    assert AuditTrail(lived_in, now=now).verify(KEY, tmp_path / "anchor") == ()


def test_work_goes_on_after_an_upgrade(lived_in: Engine) -> None:
    upgrade(lived_in, backup_folder=None)
    queue = queue_of(lived_in)

    waiting = claimed(queue)  # the one that was queued before
    assert waiting.sop_instance_uid == "1.6"
    queue.release(waiting)
    queue.receive(arrival("1.4"))  # sent again, for it had failed
    assert queue.counts()[JobState.FAILED] == 0


def test_what_came_after_an_upgrade_survives_the_way_back(lived_in: Engine) -> None:
    upgrade(lived_in, backup_folder=None)
    queue = queue_of(lived_in)
    queue.receive(arrival("9.9"))
    downgrade(lived_in, FIRST, backup_folder=None)

    assert len(rows_of(lived_in)["jobs"]) == 7


def test_a_schema_that_went_back_is_refused_until_it_is_upgraded(lived_in: Engine) -> None:
    with pytest.raises(SchemaMismatchError):
        require_current_schema(lived_in)


def test_the_way_back_is_backed_up_as_well(tmp_path: Path) -> None:
    config = Config(storage=StorageSection(root=tmp_path))
    databases.prepare_database(config)
    engine = databases.unchecked_engine(config)
    settled(queue_of(engine))
    downgrade(engine, FIRST, backup_folder=tmp_path / "backups")
    engine.dispose()

    assert len(list((tmp_path / "backups").glob("*.sqlite"))) == 1


def test_a_database_that_is_not_there_does_not_go_back(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "nowhere"))

    with pytest.raises(SchemaMismatchError):
        downgrade(engine, FIRST, backup_folder=None)
    engine.dispose()


def test_the_first_schema_is_known() -> None:
    assert revisions()[0] == FIRST
