"""Joins the commands, and turns errors into words and exit codes."""

import os
import sys
from collections.abc import Sequence

import typer

from schemas.errors import BoneAgeError, UsageError
from worker.cli import config

DONE, REFUSED, USAGE = 0, 1, 2

application = typer.Typer(
    name="boneage",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with local variables quotes everything
    help="Reads the bone age of a child's hand radiograph beside the PACS. "
    "Research use only, not for diagnosis.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings.",
)
application.add_typer(config.commands, name="config")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        application(args=arguments, prog_name="boneage")
    except UsageError as error:
        _leave(error, USAGE)
    except BoneAgeError as error:
        _leave(error, REFUSED)
    except BrokenPipeError:  # `boneage jobs list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)


def _leave(error: BoneAgeError, exit_code: int) -> None:
    print(f"boneage: {error}", file=sys.stderr)
    print(f"(code {error.code})", file=sys.stderr)
    sys.exit(exit_code)
