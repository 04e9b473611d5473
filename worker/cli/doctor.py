"""`boneage doctor`: everything that must be right before go-live, each with its mend."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from worker.cli.options import ConfigOption, JsonOption, all_settings
from worker.cli.output import console, print_json, progress_bar

if TYPE_CHECKING:
    from worker.operations.findings import Examination, Finding


def doctor(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look at everything that must be right: before the first start, and beside a running worker.

    Settings, database, disk (fsync is measured), release, devices (speed is measured, the
    constancy phantom is read), ports, peers (C-ECHO, what they accept), clocks, notifications.
    Changes nothing, and no step can hang. Exit code 1: something must be mended.

    Examples: boneage doctor; boneage doctor --json | jq '.[] | select(.state == "fail")'
    """
    findings = _settings(config)
    if findings[0].state == "ok":
        findings += _examine(config)
    if as_json:
        print_json(
            [
                {"what": one.what, "state": one.state.value, "found": one.found, "mend": one.mend}
                for one in findings
            ]
        )
    else:
        _print(findings)
    if any(one.state == "fail" for one in findings):
        raise typer.Exit(1)


def _settings(config: Path | None) -> "list[Finding]":
    from worker.operations.configuration import ConfigurationError
    from worker.operations.findings import fail, ok, skipped
    from worker.operations.surroundings import devices, surroundings

    try:
        settings = all_settings(config, machine=lambda one: (*surroundings(one), *devices(one)))
    except ConfigurationError as error:
        wrong = [fail(f"settings, {one.where}", one.what, "As it says.") for one in error.faults]
        rest = "everything else waits for settings that can be used"
        return [*wrong, skipped("all else", rest, "boneage config check")]
    return [ok("settings", str(settings.file or "no file: the defaults hold"))]


def _examine(config: Path | None) -> "list[Finding]":
    from worker.app import operators
    from worker.operations.findings import examine

    found: list[Finding] = []
    waiting: list[Examination] = list(operators.examinations(all_settings(config).config))
    with progress_bar() as bar:
        task = bar.add_task("Looking", total=len(waiting))
        for examination, results in zip(waiting, examine(waiting), strict=True):
            found += results
            bar.update(task, advance=1, description=f"Looked at {examination.what}")
    return found


def _print(findings: "list[Finding]") -> None:
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("STATE", "WHAT", "FOUND"):
        table.add_column(column, overflow="fold", no_wrap=column == "STATE")
    for one in findings:
        found = f"{one.found}\n→ {one.mend}" if one.mend and one.state != "ok" else one.found
        table.add_row(Text(one.state.value, style=colours[one.state]), one.what, found)
    console().print(table)
    count = {state: sum(one.state == state for one in findings) for state in ("fail", "warn")}
    print(
        f"{count['fail']} must be mended, {count['warn']} should be known."
        if any(count.values())
        else "Everything is right."
    )
