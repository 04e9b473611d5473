"""`boneage audit`: who did what to which job, and whether anybody has changed that since."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from schemas.audit import HEADING, AuditProblem, ExportForm, Seal
from schemas.errors import AuditAnchorError
from schemas.inquiries import EventFilter
from schemas.retention import Tombstone
from worker.cli.audit_filters import with_event_filters
from worker.cli.jobs_story import what
from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import local_time, print_facts, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from worker.queue.audit import AuditTrail

commands = typer.Typer(no_args_is_help=True, help="The audit trail, and proof that it is whole.")


@commands.command("list")
@with_event_filters()
def list_events(
    *,
    wanted: EventFilter,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest last.")] = 200,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List events in the order in which they happened.

    Examples: boneage audit list --job 812; boneage audit list --event requeued --since 2026-01-31
    """
    from worker.app import audit
    from worker.operations.records import event_record

    events = audit.audit_trail(settings(config)).list(wanted, limit=limit)
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
                what(event),
                event.after.value if event.after else "",
                event.reason,
            )
            for event in events
        ],
        none="No such events.",
    )


@commands.command("show")
def show_event(
    event_id: Annotated[int, typer.Argument(help="Number of the event.")],
    *,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one event with all that it says, and its seal.

    Example: boneage audit show 4711
    """
    from worker.app import audit
    from worker.operations.records import event_record

    event, subject, sealed = audit.audit_trail(settings(config)).event(event_id)
    if as_json:
        seal = {
            "position": sealed.position if sealed else None,
            "sealed_at": sealed.sealed_at.isoformat() if sealed else None,
        }
        print_json(event_record(event) | {"seal": seal})
        return
    moved = f"{event.before or 'new'} to {event.after}" if event.after else ""
    facts = {
        "Event": f"{event.event_id}, {event.event}",
        "When": local_time(event.at),
        "Who": event.actor,
        "Job": "" if event.job_id is None else str(event.job_id),
        "State": moved,
        "Why": event.reason,
        "Study": subject.study_instance_uid if subject else "",
        "SOP instance": subject.sop_instance_uid if subject else "",
        **{f"  {name}": str(value) for name, value in event.detail.items()},
        "Hash": event.hash,
        "Hash before": event.previous_hash or "none: the first",
        "Seal": f"{sealed.position}, {local_time(sealed.sealed_at)}" if sealed else "not yet",
    }
    print_facts(facts)


@commands.command("export")
@with_event_filters()
def export_events(
    *,
    wanted: EventFilter,
    form: Annotated[
        ExportForm, typer.Option("--format", help="dicom: one PS3.15 A.5 message a line.")
    ] = ExportForm.CSV,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Default: standard output.")
    ] = None,
    to_syslog: Annotated[
        bool, typer.Option("--to-syslog", help="Send to \\[audit.syslog] once more, as dicom.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Write events as CSV, JSON lines or DICOM audit messages; the export is itself an event.

    `boneage serve` sends new events to the audit repository by itself, as they happen.

    Examples: boneage audit export --since 2026-01-01 --out trail.csv;
    boneage audit export --format dicom --job 812
    """
    from worker.app import audit, queues
    from worker.operations.audit_export import written
    from worker.operations.syslog import NoRepositoryError

    checked = settings(config)
    trail, source = audit.audit_trail(checked), audit.audit_source(checked)
    form = ExportForm.DICOM if to_syslog else form
    target = str(out or "standard output")
    if to_syslog:
        if not checked.audit.syslog.host:
            raise NoRepositoryError
        target = f"{checked.audit.syslog.host}:{checked.audit.syslog.port}"
    queues.operator_desk(checked).record_event(  # before: what is read and cut off was read
        event="audit_exported", reason=target, detail={"format": form.value}
    )
    if to_syslog:
        count = audit.send_to_repository(checked, trail.all(wanted))
    else:
        count = _write_lines(written(trail.all(wanted), form, source=source), out)
    print(f"{count} events were written to {target}.", file=sys.stderr)


def _write_lines(lines: Iterator[str], out: Path | None) -> int:
    """Write the lines and return how many events they hold; a file is for our user alone."""
    if out is None:
        target: TextIO = sys.stdout
        return _write_all(lines, target)
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        return _write_all(lines, file)


def _write_all(lines: Iterator[str], target: TextIO) -> int:
    count = 0
    for line in lines:
        target.write(line)
        count += not line.startswith(HEADING)
    return count


@commands.command("verify")
def verify(
    *,
    files: Annotated[
        bool, typer.Option("--files/--no-files", help="Also read every file of every result.")
    ] = True,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for changed, missing, swapped, inserted and cut-off rows (exit code 1: there are some).

    Results, their files on disk and the states of jobs are compared with what the trail says of
    them. The files take about 7 MB for each image that retention has not removed.

    How recent that seal is stands below; with --json, as one more object on standard error.

    Examples: boneage audit verify; boneage audit verify --no-files
    """
    from worker.app import audit

    checked = settings(config)
    trail, seal = audit.audit_trail(checked), audit.audit_seal(checked)
    last = _last_seal(trail, seal.key(), seal.anchor)  # before: what is verified reaches so far
    problems = trail.verify(seal.key(), seal.anchor)
    if files:
        problems += _altered_files(trail, checked.storage.root)
    if as_json:
        print_json(
            [{"kind": p.kind, "event_id": p.event_id, "message": p.message} for p in problems]
        )
    else:
        print_table(
            ("KIND", "EVENT", "WHAT"),
            [(p.kind, "" if p.event_id is None else str(p.event_id), p.message) for p in problems],
            none="The trail is whole up to the last seal"
            + (", and every file of every result is what was written." if files else "."),
        )
        _print_removals(trail.removals())
    _print_last(last, as_json=as_json)
    if problems:
        raise typer.Exit(1)


@commands.command("seal")
def seal_now(*, config: ConfigOption = None) -> None:
    """Seal all new events now; `boneage serve` does so every few seconds.

    Example: boneage audit seal
    """
    from worker.app import audit

    checked = settings(config)
    seal = audit.audit_seal(checked)
    count = audit.audit_trail(checked).seal(seal.key(), seal.anchor)
    print(f"{count} events were sealed.")


def _altered_files(trail: "AuditTrail", root: Path) -> tuple[AuditProblem, ...]:
    """Read the files of all results, with a bar on the terminal; return what is wrong with them."""
    from worker.operations.result_files import find_altered_files

    with progress_bar() as bar:
        task = bar.add_task("Reading files", total=None)
        return find_altered_files(
            root,
            trail.written_files,
            tell=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _last_seal(trail: "AuditTrail", key: bytes, anchor: Path) -> Seal | None:
    """Return the last seal; none where the anchor names none that this key has made."""
    try:
        return trail.last_seal(key, anchor)
    except AuditAnchorError:  # `verify` lists it
        return None


def _print_removals(stones: Sequence[Tombstone]) -> None:
    """Say what retention removed: that is missing with good reason."""
    for stone in stones:
        print(
            f"Retention removed {stone.event_count} events of {stone.job_count} jobs on "
            f"{stone.removed_at[:10]} ({stone.policy}; tombstone {stone.tombstone_id})."
        )


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
