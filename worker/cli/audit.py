"""`boneage audit`: who did what to which job, and whether anybody has changed that since."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.audit import Seal
from schemas.errors import AuditAnchorError
from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import local_day, local_time, print_json, print_table

if TYPE_CHECKING:
    from worker.queue.audit import AuditTrail

commands = typer.Typer(no_args_is_help=True, help="The audit trail, and proof that it is whole.")


@commands.command("list")
def list_events(
    *,
    since: Annotated[str | None, typer.Option(help="Only since, e.g. 2026-01-31.")] = None,
    job_id: Annotated[int | None, typer.Option("--job", help="Only of this job.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest last.")] = 200,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List events in the order in which they happened.

    Example: boneage audit list --job 812
    """
    from worker import app
    from worker.operations.records import event_record

    trail = app.audit_trail(settings(config))
    events = trail.list(since=local_day(since), job_id=job_id, limit=limit)
    if as_json:
        print_json([event_record(event) for event in events])
        return
    print_table(
        ("EVENT", "WHEN", "JOB", "WHO", "WHAT", "STATE AFTER", "WHY"),
        [
            (
                str(event.event_id),
                local_time(event.at),
                "" if event.job_id is None else str(event.job_id),
                event.actor,
                event.event,
                event.after.value if event.after else "",
                event.reason,
            )
            for event in events
        ],
        none="No such events.",
    )


@commands.command("verify")
def verify(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look for changed, missing, swapped and cut-off rows up to the last seal (exit code 1).

    How recent that seal is stands below; with --json, as one more object on standard error.

    Example: boneage audit verify
    """
    from worker import app

    checked = settings(config)
    trail, seal = app.audit_trail(checked), app.audit_seal(checked)
    last = _last_seal(trail, seal.key(), seal.anchor)  # before: what is verified reaches so far
    problems = trail.verify(seal.key(), seal.anchor)
    if as_json:
        print_json(
            [{"kind": p.kind, "event_id": p.event_id, "message": p.message} for p in problems]
        )
    else:
        print_table(
            ("KIND", "EVENT", "WHAT"),
            [(p.kind, "" if p.event_id is None else str(p.event_id), p.message) for p in problems],
            none="The trail is whole up to the last seal.",
        )
    _print_last(last, as_json=as_json)
    if problems:
        raise typer.Exit(1)


@commands.command("seal")
def seal_now(*, config: ConfigOption = None) -> None:
    """Seal all new events now; `boneage serve` does so every few seconds.

    Example: boneage audit seal
    """
    from worker import app

    checked = settings(config)
    seal = app.audit_seal(checked)
    count = app.audit_trail(checked).seal(seal.key(), seal.anchor)
    print(f"{count} events were sealed.")


def _last_seal(trail: "AuditTrail", key: bytes, anchor: Path) -> Seal | None:
    """Return the last seal; none where the anchor names none that this key has made."""
    try:
        return trail.last_seal(key, anchor)
    except AuditAnchorError:  # `verify` lists it
        return None


def _print_last(last: Seal | None, *, as_json: bool) -> None:
    """Say up to where and when the trail was sealed, in words or, apart from the list, as JSON."""
    age = None if last is None else datetime.now(tz=UTC) - last.sealed_at
    if as_json:
        record = {
            "event_id": last.event_id if last else None,
            "sealed_at": last.sealed_at.isoformat() if last else None,
            "age_seconds": round(age.total_seconds()) if age is not None else None,
        }
        print(json.dumps({"last_seal": record}), file=sys.stderr)
    elif last is None or age is None:
        print("No seal is known: nothing proves that the trail is whole.")
    else:
        ago = str(age).partition(".")[0]
        print(f"Last seal: event {last.event_id}, {local_time(last.sealed_at)}, {ago} ago.")
