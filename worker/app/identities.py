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
    return f"operator:{getpass.getuser()}"[:64]


def process_actor(process: str) -> str:
    """Return how this process stands in the audit trail and beside what it holds."""
    return f"{process}@{socket.gethostname()}:{os.getpid()}"[:64]
