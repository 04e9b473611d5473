"""How we name ourselves: in the objects that we make, and in the audit trail."""

import getpass
import os
import socket
from importlib.metadata import version


def software_version() -> str:
    """Return the version that stands in every object that we make."""
    return version("boneage-worker")


def operator() -> str:
    """Return how the person at the keyboard stands in the audit trail."""
    return f"operator:{_user()}"[:64]


def process_actor(process: str, *, pid: int | None = None) -> str:
    """Return how this process, or another one here, stands in the audit trail and beside claims."""
    return f"{process}@{socket.gethostname()}:{pid or os.getpid()}"[:64]


def launcher(*, is_supervised: bool) -> str:
    """Return who started this process: its supervisor, or a user of this machine."""
    if is_supervised:
        return process_actor("serve", pid=os.getppid())
    return f"user:{_user()}"[:64]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())
