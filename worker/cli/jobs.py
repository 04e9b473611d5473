"""`boneage jobs`: what arrived, where it stands, and the operator's moves."""

import os
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import typer

from schemas.jobs import JobView
from worker.cli import jobs_change, jobs_watch
from worker.cli.jobs_filters import JobFilterOptions, with_filters
from worker.cli.jobs_story import JOB_COLUMNS, job_row, print_story, stages_of
from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import print_json, print_table

_DESKTOPS = ("DISPLAY", "WAYLAND_DISPLAY")

commands = typer.Typer(no_args_is_help=True, help="What arrived, and where it stands.")
commands.command("requeue")(jobs_change.requeue_jobs)
commands.command("cancel")(jobs_change.cancel_jobs)
commands.command("watch")(jobs_watch.watch_jobs)
commands.command("reindex")(jobs_change.reindex_jobs)


@commands.command("list")
@with_filters()
def list_jobs(
    *,
    wanted: JobFilterOptions,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first.

    Examples: boneage jobs list --state failed --since 2026-01-31;
    boneage jobs list --accession A4711;
    boneage jobs list --json | jq '.[] | select(.outcome == "refused")'
    """
    from worker.app import queues
    from worker.operations.records import job_record

    checked = settings(config)
    lookup = queues.job_lookup(checked)
    fits = wanted.resolve(checked)
    jobs = lookup.find(fits, limit=limit)
    if as_json:
        print_json([job_record(job) for job in jobs])
        return
    quarantined = lookup.quarantined([job.job_id for job in jobs])
    rows = [job_row(job, is_quarantined=job.job_id in quarantined) for job in jobs]
    print_table(JOB_COLUMNS, rows, none="No such jobs.")
    if len(jobs) == limit and (total := lookup.count(fits)) > limit:
        print(f"The newest {limit} of {total}; --limit {total} shows all.")


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
    from worker.app import queues
    from worker.operations.records import event_record, job_record, reception_record

    checked = settings(config)
    lookup = queues.job_lookup(checked)
    job, events = lookup.job(job_id), lookup.events(job_id)
    if is_opened:
        _open(checked.storage.root, job, out, as_json=as_json)
        desk = queues.operator_desk(checked)
        desk.record_access(job_id, event="opened", reason="jobs show --open")
        return
    receptions = lookup.receptions(job_id)
    if as_json:
        more = {
            "error": job.error,
            "timings_ms": job.timings_ms,
            "former_bone_age_months": None if job.is_result_current else job.bone_age_months,
            "stages": stages_of(events),
            "receptions": [reception_record(one) for one in receptions],
            "events": [event_record(event) for event in events],
        }
        print_json(job_record(job) | more)
        return
    print_story(job, events, receptions)


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
