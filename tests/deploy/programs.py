"""Programs of others that read the files in deploy/, each from a package of Debian or PyPI."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.orthanc import require_program

DEPLOY = Path(__file__).parents[2] / "deploy"


def of_this_environment(name: str) -> str:
    """Return a program that pip put beside this interpreter."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else require_program(name)


def told(command: Sequence[str | Path], *, cwd: Path | None = None) -> tuple[int, str]:
    """Run ``command`` and return its exit code and everything that it said."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
    )
    return done.returncode, done.stdout + done.stderr
