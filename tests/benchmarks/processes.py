"""Processor time and memory of a server and its children, from the operating system."""

from collections.abc import Iterator
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a tree of processes has taken so far."""

    cpu_seconds: float  #: user and system, ended children included
    memory_mb: float  #: resident, the largest process


def usage(pid: int, *, command: str = "") -> Usage:
    """Return the usage of a process and all below it.

    Args:
        pid: the top of the tree.
        command: count only processes whose command line holds this; all of them without it.
    """
    seconds, largest = 0.0, 0.0
    for process in _tree(pid):
        try:
            if command and command not in " ".join(process.cmdline()):
                continue
            times = process.cpu_times()
            largest = max(largest, process.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return Usage(cpu_seconds=seconds, memory_mb=largest)


def _tree(pid: int) -> Iterator[psutil.Process]:
    top = psutil.Process(pid)
    yield top
    yield from top.children(recursive=True)
