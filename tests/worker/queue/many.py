"""A queue on the clock of this host, and very many jobs in it, finished or waiting."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import Engine

import schemas.partial_indexes  # noqa: F401 - they belong to the tables
from schemas.tables import Job, JobEventRow, OutboxRow, Output, Reception, Result
from tests.worker.queue.makers import RETRY, arrival, send_all, settled
from worker.queue.dialect import plain
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

_REAL = 20
#: in the order in which they may be filled: each points to those before it
_TABLES = (Reception, Job, Result, Output, OutboxRow, JobEventRow)


def now() -> datetime:
    return datetime.now(UTC)


def queue_at(engine: Engine) -> JobQueue:
    return JobQueue(engine, now=now, actor="infer", release="r1", retry=RETRY)


def finish(engine: Engine, count: int) -> None:
    """Let ``count`` jobs, a multiple of twenty, be received, read and delivered.

    The first twenty are real; the others are their copies with numbers and UIDs of their own.
    """
    queue, outbox = queue_at(engine), Outbox(engine, now=now, actor="deliver")
    for number in range(_REAL):
        settled(queue, uid=f"1.{number + 1}")
        send_all(outbox)
    if count > _REAL:
        _multiply(engine, copies=count // _REAL - 1)


def let_wait(engine: Engine, count: int) -> None:
    """Let ``count`` jobs, a multiple of twenty, wait in an empty database; as in ``finish``."""
    queue = queue_at(engine)
    for number in range(_REAL):
        queue.receive(arrival(f"1.{number + 1}"))
    if count > _REAL:
        _multiply(engine, copies=count // _REAL - 1)


def _multiply(engine: Engine, *, copies: int) -> None:
    tables = [plain(each) for each in _TABLES]
    with _loading(engine, tables) as connection:
        spans = {
            table.name: connection.scalar(sa.select(sa.func.max(table.c.id))) or 0
            for table in tables
        }
        copy = sa.select(sa.literal(1).label("number")).cte("copy", recursive=True)
        copy = copy.union_all(sa.select(copy.c.number + 1).where(copy.c.number < copies))
        for table in tables:
            values = [_shifted(column, copy.c.number, spans) for column in table.columns]
            rows = sa.select(*values).select_from(table.join(copy, sa.true()))
            connection.execute(table.insert().from_select(list(table.columns), rows))
        if engine.dialect.name == "postgresql":
            for name in spans:
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"  # noqa: S608 - names of ours
                )
    if engine.dialect.name == "postgresql":  # as its autovacuum would, by and by
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


@contextmanager
def _loading(engine: Engine, tables: Sequence[sa.Table]) -> Iterator[sa.Connection]:
    """Open a transaction that is quick with very many rows: what may wait is done at its end.

    Indexes are made when the rows are there, and no row is asked for those it points to.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # by the driver: within a transaction, which is begun for every statement, none counts
            cursor = connection.connection.cursor()
            for pragma in ("foreign_keys = OFF", "synchronous = OFF", "cache_size = -400000"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
                connection.exec_driver_sql("SET LOCAL maintenance_work_mem = '512MB'")
            indexes = [index for table in tables for index in table.indexes]
            for index in indexes:
                index.drop(connection)
            yield connection
            for index in indexes:
                index.create(connection)
        if engine.dialect.name == "sqlite":
            cursor = connection.connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.close()
    engine.dispose()  # the next connections are as in service


def _shifted(
    column: "sa.Column[object]", number: "sa.ColumnElement[int]", spans: dict[str, int]
) -> "sa.ColumnElement[object]":
    """Return the column as it stands in copy ``number``."""
    if column.primary_key:
        return column + number * spans[column.table.name]
    for key in column.foreign_keys:
        return column + number * spans[key.column.table.name]
    if column.name == "sop_instance_uid":
        return column + sa.literal(".") + sa.cast(number, sa.String)
    return column
