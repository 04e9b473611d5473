"""Joins the commands, and turns errors into words and exit codes."""

import os
import sys
from collections.abc import Sequence

import typer

from schemas.errors import BoneAgeError, UsageError
from worker.cli import audit, config, database, jobs, notify, peers, release, retention
from worker.cli.conformance import conformance
from worker.cli.demo import demo
from worker.cli.doctor import doctor
from worker.cli.estimate import estimate
from worker.cli.evaluate import evaluate
from worker.cli.plot import plot
from worker.cli.selftest import selftest
from worker.cli.serve import serve
from worker.cli.train import train
from worker.logs import log

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
application.command("serve")(serve)
application.command("demo")(demo)
application.command("estimate")(estimate)
application.command("train")(train)
application.command("evaluate")(evaluate)
application.command("plot")(plot)
application.command("send")(peers.send)
application.command("selftest")(selftest)
application.command("doctor")(doctor)
application.command("conformance")(conformance)
application.add_typer(jobs.commands, name="jobs")
application.add_typer(audit.commands, name="audit")
application.add_typer(retention.commands, name="retention")
application.add_typer(peers.commands, name="peers")
application.add_typer(release.commands, name="release")
application.add_typer(config.commands, name="config")
application.add_typer(database.commands, name="db")
application.add_typer(notify.commands, name="notify")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        application(args=arguments, prog_name="boneage")
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
