"""A database of each kind, and how it comes to hold very many finished jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.tables import Job, JobEventRow, OutboxRow, Output, Reception, Result, Table
from tests.worker.queue.makers import RETRY, send_all, settled
from tests.worker.queue.postgresql import running_server
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

#: in the order in which one refers to another
_TABLES: tuple[type[Table], ...] = (Reception, Job, Result, Output, OutboxRow, JobEventRow)
_OWN_UID = "sop_instance_uid"


def now() -> datetime:
    """Return the time of this host."""
    return datetime.now(tz=UTC)


def queue_of(engine: Engine) -> JobQueue:
    """Return the queue as a worker has it."""
    return JobQueue(engine, now=now, actor="benchmark", release="r1", retry=RETRY)


@contextmanager
def sqlite(folder: Path) -> Iterator[str]:
    """Give the URL of an empty SQLite database in ``folder``."""
    url = sqlite_url(folder)
    engine = open_engine(url)
    upgrade(engine, backup_folder=None)
    engine.dispose()
    yield url


@contextmanager
def postgresql(_folder: Path) -> Iterator[str]:
    """Give the URL of an empty database on a server of its own that syncs as in service."""
    with running_server(is_durable=True) as server:
        yield server.url


DATABASES = {"SQLite": sqlite, "PostgreSQL": postgresql}


def finish_first_job(engine: Engine) -> None:
    """Let one job go the whole way, so that there is one to copy."""
    settled(queue_of(engine), uid="1.2.3")
    send_all(Outbox(engine, now=now, actor="benchmark"))


def multiply_to(engine: Engine, jobs: int) -> None:
    """Copy finished jobs inside the database until there are at least ``jobs`` of them.

    Each copy is a job of its own with reception, result, objects, orders and events; only the
    hashes of the audit trail are those of the first.
    """
    with engine.begin() as connection:
        count = connection.scalar(sa.select(sa.func.count()).select_from(Job)) or 0
    while count < jobs:
        with engine.begin() as connection:
            _double(connection, limit=jobs - count)
            count = connection.scalar(sa.select(sa.func.count()).select_from(Job)) or 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))


def _double(connection: sa.Connection, *, limit: int) -> None:
    highest = {
        table.__tablename__: connection.scalar(sa.select(sa.func.max(table.__table__.c.id))) or 0
        for table in _TABLES
    }
    jobs = min(highest[Job.__tablename__], limit)
    result = Result.__table__.c
    of_these = sa.select(result.id).where(
        result.job_id <= jobs, result.id <= highest[Result.__tablename__]
    )
    for table in _TABLES:
        columns: Any = table.__table__.c
        picked: sa.ColumnElement[bool] = (
            columns.result_id.in_(of_these) if table is Output else _owner(table) <= jobs
        )
        rows = sa.select(*(_copied(column, highest) for column in columns)).where(picked)
        connection.execute(sa.insert(table).from_select(list(columns.keys()), rows))
        if connection.dialect.name == "postgresql":
            sequence = sa.func.pg_get_serial_sequence(table.__tablename__, "id")
            connection.execute(sa.select(sa.func.setval(sequence, sa.func.max(columns.id))))


def _owner(table: type[Table]) -> sa.ColumnElement[int]:
    columns = table.__table__.c
    owner: sa.ColumnElement[int] = columns.job_id if "job_id" in columns else columns.id
    return owner


def _copied(column: sa.Column[Any], highest: dict[str, int]) -> sa.ColumnElement[Any]:
    name = column.table.name
    if column.primary_key:
        return column + highest[name]
    for key in column.foreign_keys:
        return column + highest[key.column.table.name]
    if column.name == _OWN_UID and name != OutboxRow.__tablename__:
        kind = "9" if name == Output.__tablename__ else "1"  # a job has the UID of its reception
        number = column.table.c.id + highest[name]
        return sa.literal(f"2.25.{kind}.") + sa.cast(number, sa.String)
    return column
