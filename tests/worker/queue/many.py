"""A queue on the clock of this host, and very many finished jobs in it within seconds."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.tables import Job, JobEventRow, OutboxRow, Output, Reception, Result
from tests.worker.queue.makers import RETRY, send_all, settled
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


def _multiply(engine: Engine, *, copies: int) -> None:
    with engine.begin() as connection:
        spans = {
            table.__tablename__: connection.execute(
                sa.select(sa.func.max(table.__table__.c.id))
            ).scalar_one()
            for table in _TABLES
        }
        copy = sa.select(sa.literal(1).label("number")).cte("copy", recursive=True)
        copy = copy.union_all(sa.select(copy.c.number + 1).where(copy.c.number < copies))
        for each in _TABLES:
            table = sa.Table(each.__tablename__, each.metadata)
            values = [_shifted(column, copy.c.number, spans) for column in table.columns]
            rows = sa.select(*values).select_from(table.join(copy, sa.true()))
            connection.execute(table.insert().from_select(list(table.columns), rows))
        if engine.dialect.name == "postgresql":
            for name in spans:
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"  # noqa: S608 - names of ours
                )
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:  # as its autovacuum would, by and by
            connection.exec_driver_sql("ANALYZE")


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
