"""`boneage retention`: what goes on schedule, shown before, or done now."""

from dataclasses import asdict
from typing import Annotated

import typer

from schemas.retention import RetentionReport
from worker.cli.options import ConfigOption, JsonOption, YesOption, settings
from worker.cli.output import confirm, print_facts, print_json

commands = typer.Typer(no_args_is_help=True, help="Images, results and rows that go on schedule.")


@commands.command("run")
def run_retention(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go; change nothing.")
    ] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what the settings say is due; `boneage serve` does so every hour.

    What is not confirmed, not finished, failed, cancelled or quarantined stays, however old it is.

    Examples: boneage retention run --dry-run; boneage retention run --yes
    """
    from worker.app import identities, retention

    checked = settings(config)
    round_ = retention.retention_round(checked, actor=identities.operator())
    report = round_.preview()
    if dry_run or not _is_anything(report):
        _print(report, as_json=as_json, title="Due now" if dry_run else "Nothing is due")
        return
    if not as_json:
        _print(report, as_json=False, title="Due now")
    confirm("Remove this for ever?", yes=yes)
    done = round_.run()
    _print(done, as_json=as_json, title="Removed")
    if done.failed:
        raise typer.Exit(1)


def _is_anything(report: RetentionReport) -> bool:
    counts = (report.jobs, report.records_of_jobs, report.events)
    return any((*counts, report.orphan_files, report.orphan_folders))


def _print(report: RetentionReport, *, as_json: bool, title: str) -> None:
    if as_json:
        print_json(asdict(report))
        return
    print(f"{title}:")
    held = ", ".join(f"{count} {reason}" for reason, count in report.held.items())
    megabytes = report.size_bytes / 1024**2
    print_facts(
        {
            "Images and results": f"{report.jobs} jobs, {report.files} files, {megabytes:.1f} MiB",
            "Rows": f"{report.records_of_jobs} jobs, {report.events} events",
            "Orphans": f"{report.orphan_files} images, {report.orphan_folders} result folders",
            "Kept, though old": held or "none",
            **({"Not let go by the disk": f"{report.failed} jobs"} if report.failed else {}),
        }
    )
