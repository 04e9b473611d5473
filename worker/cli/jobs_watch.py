"""`boneage jobs watch`: the queue as it moves."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.inquiries import JobFilter
from schemas.jobs import JobState, JobView
from worker.cli.jobs_filters import JobFilterOptions, with_filters
from worker.cli.jobs_story import JOB_COLUMNS, job_row
from worker.cli.options import ConfigOption, settings
from worker.cli.output import console, local_time

if TYPE_CHECKING:
    from rich.console import RenderableType

    from worker.queue.lookup import JobLookup

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_SHOWN = 20
_MOST_CHANGES = 1000


@with_filters()
def watch_jobs(
    *,
    wanted: JobFilterOptions,
    every: Annotated[
        float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: counts, and what changed.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Show counts and the jobs that changed last, until Ctrl-C.

    Examples: boneage jobs watch --state failed; boneage jobs watch --json | jq .counts
    """
    from worker.app import queues

    checked = settings(config)
    lookup = queues.job_lookup(checked)
    fits = wanted.resolve(checked)
    looks = _looks(every=every, once=once)
    with suppress(KeyboardInterrupt):
        if as_json:
            _print_lines(lookup, fits, looks)
        elif once:
            next(looks)
            console().print(_view(lookup, fits))
        else:
            _show_live(lookup, fits, looks)


def _looks(*, every: float, once: bool) -> Iterator[datetime]:
    """Yield the time of each look, the first at once."""
    while True:
        yield datetime.now(tz=UTC)
        if once:
            return
        time.sleep(every)


def _show_live(lookup: "JobLookup", fits: JobFilter, looks: Iterator[datetime]) -> None:
    from rich.live import Live

    with Live(console=console(), auto_refresh=False, screen=console().is_terminal) as live:
        for _at in looks:
            live.update(_view(lookup, fits), refresh=True)


def _view(lookup: "JobLookup", fits: JobFilter) -> "RenderableType":
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = lookup.counts()
    states = "   ".join(f"{state.value} {counts[state]}" for state in JobState)
    head = Text(f"{local_time(datetime.now(tz=UTC))}   Ctrl-C ends")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in (*JOB_COLUMNS[:-2], "CHANGED", JOB_COLUMNS[-1]):
        table.add_column(column, overflow="fold")
    for job in lookup.find(_changed(fits, since=_LONG_AGO), limit=_SHOWN):
        *first, _received, why = job_row(job)
        table.add_row(*first, local_time(job.updated_at), why, style=_style(job))
    return Group(head, Text(states, style="bold"), Text(""), table)


def _style(job: JobView) -> str:
    if job.state is JobState.FAILED:
        return "red"
    return "cyan" if job.state in (JobState.RUNNING, JobState.DELIVERING) else ""


def _print_lines(lookup: "JobLookup", fits: JobFilter, looks: Iterator[datetime]) -> None:
    """Print a line for each look, with every job that has changed since the one before."""
    from worker.operations.records import job_record

    seen: dict[int, datetime] = {}
    since = _LONG_AGO
    for at in looks:
        limit = _SHOWN if since == _LONG_AGO else _MOST_CHANGES
        jobs = lookup.find(_changed(fits, since=since), limit=limit)
        changed = [job for job in jobs if seen.get(job.job_id) != job.updated_at]
        seen = {job.job_id: job.updated_at for job in jobs}
        # a transaction has the time of its start: look back a little, and skip what was shown
        since = max(seen.values(), default=since) - timedelta(seconds=30) if seen else since
        line = {
            "at": at.isoformat(),
            "counts": {state.value: count for state, count in lookup.counts().items()},
            "jobs": [job_record(job) for job in reversed(changed)],
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)


def _changed(fits: JobFilter, *, since: datetime) -> JobFilter:
    return replace(fits, changed_since=since)
