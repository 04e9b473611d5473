"""`boneage audit`: who did what to which job, and whether anybody has changed that since."""

from typing import Annotated

import typer

from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import local_day, local_time, print_json, print_table

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

    Example: boneage audit verify
    """
    from worker import app

    checked = settings(config)
    trail, seal = app.audit_trail(checked), app.audit_seal(checked)
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
