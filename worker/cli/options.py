"""The options that many commands share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.logs import configure_logging, silence_libraries

if TYPE_CHECKING:
    from schemas.config import Config
    from worker.operations.configuration import MachineCheck, Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings. Without it: $BONEAGE_CONFIG, else ./config.toml, else the defaults.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object or list, stable keys.")]
MaskNetworkOption = Annotated[
    Path | None,
    typer.Option(
        "--mask-network",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Finds the hand for runs trained with masks: Deeplasia's fscnn_cos.ckpt.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _said(reason: str) -> str:
    """Return the reason without blanks around it; an empty one is wrong usage."""
    if not reason.strip():
        raise typer.BadParameter("say in a few words why: it goes into the audit trail")
    return reason.strip()


ReasonOption = Annotated[
    str,
    typer.Option("--reason", callback=_said, help="Why; goes into the audit trail with your name."),
]


def settings(given: Path | None, *, process: str = "") -> "Config":
    """Return the checked settings, with the log set up as they say.

    Raises:
        ConfigurationError: something in the settings is wrong; all of it is listed.
    """
    return all_settings(given, process=process).config


def all_settings(
    given: Path | None, *, process: str = "", machine: "MachineCheck" = lambda _config: ()
) -> "Settings":
    """Return the checked settings with their sources, with the log set up as they say.

    Raises:
        ConfigurationError: something in the settings is wrong; all of it is listed.
    """
    from worker.operations.configuration import load_settings

    silence_libraries()
    configure_logging()
    found = load_settings(given, environment=os.environ, machine=machine)
    section = found.config.log
    configure_logging(level=section.level.value, json_lines=section.json_lines, process=process)
    return found
