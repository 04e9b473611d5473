"""The operator's commands. Only this package prints."""

from worker.cli.application import main

__all__ = ["main"]
