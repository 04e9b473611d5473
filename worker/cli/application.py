"""Joins the commands, and turns errors into words and exit codes."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import typer

from schemas.errors import BoneAgeError, UsageError
from worker.logs import log

DONE, REFUSED, USAGE = 0, 1, 2

#: Where each command, or group of commands, stands in this package. A module is loaded when its
#: command is called, and all of them for the list of commands alone.
PLACES: Final = {
    "serve": "serve.serve",
    "demo": "demo.demo",
    "estimate": "estimate.estimate",
    "train": "train.train",
    "evaluate": "evaluate.evaluate",
    "plot": "plot.plot",
    "send": "peers.send",
    "selftest": "selftest.selftest",
    "doctor": "doctor.doctor",
    "conformance": "conformance.conformance",
    "jobs": "jobs.commands",
    "audit": "audit.commands",
    "retention": "retention.commands",
    "peers": "peers.commands",
    "release": "release.commands",
    "config": "config.commands",
    "db": "database.commands",
    "notify": "notify.commands",
}


def application(*names: str) -> typer.Typer:
    """Return the command line with the commands of these names, or with all of them."""
    joined = typer.Typer(
        name="boneage",
        callback=_before_all,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # a traceback with local variables quotes everything
        help="Reads the bone age of a child's hand radiograph beside the PACS. "
        "Research use only, not for diagnosis.",
        epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings.",
    )
    for name in names or PLACES:
        module, _, attribute = PLACES[name].partition(".")
        found = getattr(import_module(f"worker.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            joined.add_typer(found, name=name)
        else:
            joined.command(name)(found)
    return joined


def _before_all() -> None:
    """Nothing; but with it, one command alone is still called by its name."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    wanted = [name for name in given[:1] if name in PLACES]
    try:
        application(*wanted)(args=given, prog_name="boneage")
    except BoneAgeError as error:
        _leave(error, exit_code=USAGE if isinstance(error, UsageError) else REFUSED)
    except BrokenPipeError:  # `boneage jobs list | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
    except Exception as error:  # noqa: BLE001 - the last one who can say it in words
        log.exception("command.failed")
        _leave(error, exit_code=REFUSED)


def _leave(error: Exception, *, exit_code: int) -> None:
    print(f"boneage: {_words(error)}", file=sys.stderr)
    sys.exit(exit_code)


def _words(error: Exception) -> str:
    """Return what an operator can do about it; the text of a foreign error may quote a value."""
    if isinstance(error, BoneAgeError):
        return f"{error}\n(code {error.code})"
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError):
        return (
            "The database did not do what was asked (see above). Is it running, is "
            "[database] url right, and may this user write there? Try `boneage db check`."
        )
    if isinstance(error, OSError):
        return f"{error.strerror or type(error).__name__}: {error.filename or 'no file named'}"
    return "This is a bug in boneage-worker. Please report the lines above."
