"""`boneage conformance`: the DICOM conformance statement of this installation."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import ConfigOption, settings


def conformance(
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there, as Markdown.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Say what this installation negotiates, for whoever connects a system to it.

    In the order of PS3.2: SOP classes, transfer syntaxes, statuses, time-outs, templates, codes.
    Example: boneage conformance --out conformance.md
    """
    from worker.app import identities
    from worker.operations.conformance.statement import statement

    text = statement(settings(config), version=identities.software_version())
    if out is None:
        print(text, end="")
        return
    out.write_text(text, encoding="utf-8")
    print(f"The conformance statement is in {out}.")
