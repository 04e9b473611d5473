"""How long a claim takes when a hundred jobs are done, and when a hundred thousand are.

On SQLite and on PostgreSQL; in each round both databases are asked in turn, so that a machine
that is busy for a while is busy for both.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.tables import Job, JobEventRow, OutboxRow, Output, Reception, Result
from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.worker.queue.makers import LEASE, RETRY, arrival, claimed, result, send_all, settled
from tests.worker.queue.postgresql import Server, running_server
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

FEW, MANY = 100, 100_000
MOST_TIMES_LONGER = 1.5  # the acceptance figure of the campaign
_CLAIMS = 40  # of one round
_REAL = 20
#: in the order in which they may be filled: each points to those before it
_TABLES = (Reception, Job, Result, Output, OutboxRow, JobEventRow)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(kw_only=True)
class Measured:
    """One database with so many finished jobs, and how long claims took there, in ms."""

    engine: Engine
    finished: int
    job_ms: list[float] = field(default_factory=list)
    object_ms: list[float] = field(default_factory=list)

    def round(self, number: int) -> None:
        """Claim jobs and objects that have just come; finish them."""
        queue, outbox = queue_at(self.engine), Outbox(self.engine, now=now, actor="deliver")
        for each in range(_CLAIMS):
            queue.receive(arrival(f"1.9.{number}.{each}"))
        claims = []
        for _ in range(_CLAIMS):
            began = time.perf_counter()
            claims.append(claimed(queue))
            self.job_ms.append(1000 * (time.perf_counter() - began))
        for claim in claims:
            queue.settle(claim, result(claim))
        for _ in range(_CLAIMS):
            began = time.perf_counter()
            taken = outbox.claim(lease=LEASE, destinations=("PACS",))
            self.object_ms.append(1000 * (time.perf_counter() - began))
            assert taken is not None
            outbox.release(taken)
        send_all(outbox)


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


def campaign(
    folder: Path, order: Order, *, tell: Callable[[str], None], many: int = MANY
) -> Findings:
    """Measure in rounds; more than half as long again is a failure."""
    findings = Findings(campaign="claims", order=order)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        server = stack.enter_context(running_server())
        for kind in ("SQLite", "PostgreSQL"):
            pair = []
            for finished in (FEW, many):
                engine = open_engine(_url(kind, folder / f"{finished}", server, finished))
                stack.callback(engine.dispose)
                upgrade(engine, backup_folder=None)
                finish(engine, finished)
                pair.append(Measured(engine=engine, finished=finished))
                tell(f"{kind}: {finished} jobs are finished")
            for number in order.numbers:
                for each in pair:
                    each.round(number)
            findings.rows += _rows(kind, pair, findings)
    return findings


def _url(kind: str, folder: Path, server: Server, finished: int) -> str:
    if kind == "SQLite":
        return sqlite_url(folder)
    name = f"finished_{finished}"
    with server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.url.replace("/boneage?", f"/{name}?")


def _rows(kind: str, pair: Sequence[Measured], findings: Findings) -> list[dict[str, Figure]]:
    few, many = pair
    rows: list[dict[str, Figure]] = []
    for what in ("job", "object"):
        short, long = (median(getattr(each, f"{what}_ms")) for each in (few, many))
        if long > MOST_TIMES_LONGER * short:
            found = f"{long:.2f} ms at {many.finished} jobs, {short:.2f} ms at {few.finished}"
            findings.fail(run=findings.order.first, what=f"{kind}, {what}", found=found)
        rows.append(
            {
                "database": kind,
                "claim of": f"a{'n' if what == 'object' else ''} {what}",
                "claims": len(few.job_ms),
                f"at {few.finished}, ms": short,
                f"at {many.finished}, ms": long,
                "times": long / short,
            }
        )
    return rows
