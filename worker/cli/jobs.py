"""`boneage jobs`: what arrived, where it stands, and the operator's moves."""

import os
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import typer

from schemas.jobs import DestinationView, JobState, JobView, OutboxState
from worker.cli.options import ConfigOption, JsonOption, ReasonOption, YesOption, settings
from worker.cli.output import (
    confirm,
    local_day,
    local_time,
    print_facts,
    print_json,
    print_table,
)

_DESKTOPS = ("DISPLAY", "WAYLAND_DISPLAY")

commands = typer.Typer(no_args_is_help=True, help="What arrived, and where it stands.")

#: for these, something happens by itself at the time shown: the next try, or asking for the proof
_HAS_NEXT = (OutboxState.WAITING, OutboxState.SENT)

JobNumbers = Annotated[list[int], typer.Argument(metavar="JOB_ID...", help="Numbers of jobs.")]


@commands.command("list")
def list_jobs(
    *,
    state: Annotated[list[JobState] | None, typer.Option(help="Only these states.")] = None,
    since: Annotated[str | None, typer.Option(help="Received since, e.g. 2026-01-31.")] = None,
    study: Annotated[str | None, typer.Option(help="Study Instance UID.")] = None,
    calling_ae: Annotated[str | None, typer.Option(help="AE title of the sender.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first.

    Examples: boneage jobs list --state failed --since 2026-01-31;
    boneage jobs list --json | jq '.[] | select(.outcome == "refused")'
    """
    from worker import app
    from worker.operations.records import job_record

    jobs = app.operator_desk(settings(config)).jobs(
        states=tuple(state or ()),
        since=local_day(since),
        study=study,
        calling_ae=calling_ae,
        limit=limit,
    )
    if as_json:
        print_json([job_record(job) for job in jobs])
        return
    columns = ("JOB", "STATE", "BONE AGE", "SEX", "FROM", "RECEIVED", "WHY")
    print_table(columns, [_row(job) for job in jobs], none="No such jobs.")


@commands.command("show")
def show_job(
    job_id: Annotated[int, typer.Argument(help="Number of the job.")],
    *,
    is_opened: Annotated[
        bool, typer.Option("--open", help="Write SR, SC, PNG, PDF and HTML, and open the HTML.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where --open writes; default: a new folder."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one job: its result, what each destination has, the last error, its whole life.

    SR and SC that --open writes name the patient: delete them when you have seen them.

    Examples: boneage jobs show 812; boneage jobs show 812 --open
    """
    from worker import app
    from worker.operations.records import event_record, job_record

    checked = settings(config)
    queue = app.operator_desk(checked)
    job, events = queue.job(job_id), queue.events(job_id)
    if is_opened:
        _open(checked.storage.root, job, out, as_json=as_json)
        return
    if as_json:
        more = {
            "error": job.error,
            "timings_ms": job.timings_ms,
            "events": [event_record(event) for event in events],
        }
        print_json(job_record(job) | more)
        return
    print_facts(_facts(job))
    print()
    print_table(
        ("DESTINATION", "OBJECT", "STATE", "TRIES", "STATUS", "SENT", "CONFIRMED", "NEXT", "ERROR"),
        [destination_row(one) for one in job.destinations],
        none="Nothing is owed to any destination.",
    )
    print()
    print_table(
        ("WHEN", "WHO", "EVENT", "STATE AFTER", "WHY"),
        [
            (local_time(event.at), event.actor, event.event, event.after or "", event.reason)
            for event in events
        ],
        none="No events.",
    )


@commands.command("requeue")
def requeue_jobs(
    job_ids: JobNumbers,
    *,
    reason: ReasonOption,
    deliver_only: Annotated[
        bool, typer.Option("--deliver-only", help="Send the same objects again; no new estimate.")
    ] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Estimate again (a new revision), or send again what was made.

    Example: boneage jobs requeue 812 --deliver-only --reason "PACS was down"
    """
    from worker import app

    queue = app.operator_desk(settings(config))
    what = "send the same objects again" if deliver_only else "estimate again"
    states = ", ".join(f"{job_id} ({queue.job(job_id).state})" for job_id in job_ids)
    confirm(f"For job {states}: {what}?", yes=yes)
    for job_id in job_ids:
        queue.requeue(job_id, reason=reason, deliver_only=deliver_only)
        print(f"Job {job_id} is {queue.job(job_id).state}.")


@commands.command("cancel")
def cancel_jobs(
    job_ids: JobNumbers,
    *,
    reason: ReasonOption,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Stop jobs that wait or are being delivered; the images stay.

    Example: boneage jobs cancel 812 --reason "test image"
    """
    from worker import app

    queue = app.operator_desk(settings(config))
    states = ", ".join(f"{job_id} ({queue.job(job_id).state})" for job_id in job_ids)
    confirm(f"Cancel job {states}? What was not sent stays here.", yes=yes)
    for job_id in job_ids:
        queue.cancel(job_id, reason=reason)
        print(f"Job {job_id} is {queue.job(job_id).state}.")


def _open(root: Path, job: JobView, out: Path | None, *, as_json: bool) -> None:
    """Write the files of a job's result, say where, and show them where there is a desktop."""
    from worker.operations.opening import write_job

    folder = out or Path(mkdtemp(prefix=f"boneage-job-{job.job_id}-"))  # for this user's eyes alone
    files = write_job(root, job, folder)
    if as_json:
        print_json({"job_id": job.job_id, "files": [str(path) for path in files]})
        return
    for path in files:
        print(path)
    if sys.stdout.isatty() and any(os.environ.get(one) for one in _DESKTOPS):
        typer.launch(str(files[-1]))


def _row(job: JobView) -> tuple[str, ...]:
    return (
        str(job.job_id),
        job.state.value,
        _age(job),
        job.sex or "",
        job.calling_ae,
        local_time(job.received_at),
        job.error or job.reason or "",
    )


def _age(job: JobView) -> str:
    if job.bone_age_months is None:
        return job.outcome.value if job.outcome else ""
    if job.interval_months is None:
        return f"{job.bone_age_months:.1f} mo"
    low, high = job.interval_months
    return f"{job.bone_age_months:.1f} mo ({low:.0f} to {high:.0f})"


def _facts(job: JobView) -> dict[str, str]:
    return {
        "Job": str(job.job_id),
        "State": job.state.value,
        "Outcome": job.outcome.value if job.outcome else "",
        "Reason": job.reason or "",
        "Bone age": _age(job),
        "Sex": f"{job.sex or 'unknown'} ({job.sex_source or 'not read yet'})",
        "From": job.calling_ae,
        "Received": local_time(job.received_at),
        "Changed": local_time(job.updated_at),
        "Attempt, revision": f"{job.attempt}, {job.revision}",
        "Release": job.release,
        "SOP instance": job.sop_instance_uid,
        "Study": job.study_instance_uid,
        "Last error": job.error or "",
    }


def destination_row(one: DestinationView) -> tuple[str, ...]:
    """Return what one destination has of one object, in the order of the columns."""
    return (
        one.destination,
        one.kind.value,
        one.state.value,
        str(one.attempt),
        "" if one.status is None else f"0x{one.status:04X}",
        local_time(one.sent_at),
        local_time(one.confirmed_at),
        local_time(one.run_after) if one.state in _HAS_NEXT else "",
        one.error or "",
    )
