"""Tables for people, JSON for machines, progress where a person waits."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


def console() -> "Console":
    """Return the console for people; its width is that of the terminal, or 120 where none is."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    return Console(width=width, highlight=False, markup=False)


def print_json(value: object) -> None:
    """Print one object or one list, and nothing else."""
    print(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, none: str) -> None:
    """Print rows under their columns, or the sentence ``none`` where there are no rows."""
    if not rows:
        print(none)
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and values in two columns."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    console().print(table)


def local_time(at: datetime | None) -> str:
    """Return a time as the operator's clock shows it, with its offset; nothing for none."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S%z")


def local_day(text: str | None, *, option: str = "--since") -> datetime | None:
    """Return the start that ``option`` names: a day, or a day and time, of the local clock."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        message = "write a day as 2026-01-31, or a time as 2026-01-31T22:15"
        raise typer.BadParameter(message, param_hint=option) from error


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is changed; refuse where nobody can answer.

    Raises:
        typer.BadParameter: there is no terminal, and ``--yes`` was not given.
        typer.Abort: the operator said no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        message = "nobody can be asked here; add --yes if this is what you want"
        raise typer.BadParameter(message, param_hint="--yes")
    typer.confirm(question, abort=True)


@contextmanager
def progress_bar() -> Iterator["Progress"]:
    """Show progress on standard error, so that standard output stays the result."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    target = Console(stderr=True)
    with Progress(*columns, console=target, transient=True, disable=not target.is_terminal) as bar:
        yield bar


def steps_in(bar: "Progress") -> Callable[[str, int, int], None]:
    """Return what shows each step of a long work as a bar of its own, by name, done and total."""
    tasks: dict[str, TaskID] = {}

    def tell(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total, visible=done < total)

    return tell


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(type(value).__name__)
