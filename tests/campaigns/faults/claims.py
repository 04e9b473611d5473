"""How long a claim takes when a hundred jobs are done, and when a hundred thousand are.

On SQLite and on PostgreSQL; in each round both databases are asked in turn, so that a machine
that is busy for a while is busy for both.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from sqlalchemy import Engine

from tests.campaigns.faults.findings import Figure, Findings, Order
from tests.worker.queue.makers import LEASE, arrival, claimed, result, send_all
from tests.worker.queue.many import finish, now, queue_at
from tests.worker.queue.postgresql import Server, running_server
from worker.queue.database import open_engine, sqlite_url, upgrade
from worker.queue.outbox import Outbox

FEW, MANY = 100, 100_000
MOST_TIMES_LONGER = 1.5  # the acceptance figure of the campaign
_CLAIMS = 40  # of one round


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
