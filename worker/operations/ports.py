"""Who listens on a port of this machine: nobody, this worker, or somebody else (Linux)."""

import os
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_LISTENS: Final = "0A"  # proc(5), /proc/net/tcp: TCP_LISTEN


def is_free(host: str, port: int) -> bool:
    """Say whether the address can be bound now; port 0 always can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return True
    except OSError:
        return False


def family_of(pids: Collection[int]) -> frozenset[int]:
    """Return these processes and their children, as far as this user may look."""
    parents = dict(_parents())
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return frozenset(found)


def is_held_by(port: int, pids: Collection[int]) -> bool | None:
    """Say whether one of these processes listens on ``port``; ``None``: this user may not see."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    opened = [_open_files(pid) for pid in pids]
    if any(link in sockets for links in opened for link in links or ()):
        return True
    return None if None in opened else False


def _parents() -> Iterator[tuple[int, int]]:
    for folder in _PROC.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        yield int(folder.name), int(fields[1])


def _listening(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _open_files(pid: int) -> list[str] | None:
    """Return what a process has open; ``None``: another user's, or hidden from this one."""
    try:
        return list(_links(_PROC / str(pid) / "fd"))
    except OSError:
        return None


def _links(folder: Path) -> Iterator[str]:
    for link in folder.iterdir():
        with suppress(FileNotFoundError):  # closed in this moment
            yield os.readlink(link)  # noqa: PTH115 - the text of the link, which is no path
