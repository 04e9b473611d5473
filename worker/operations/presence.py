"""Which worker runs on this storage root: a file that it holds locked, with its process id."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER: Final = "run"


@contextmanager
def presence(root: Path, name: str) -> Iterator[None]:
    """Hold ``run/<name>.pid`` for as long as this process lives; a killed one lets go, too.

    Raises:
        OSError: the storage root cannot be written.
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{_plain(name)}.pid").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def running(root: Path) -> dict[str, int]:
    """Return what runs here: the name of each process ("serve": all of them) and its id."""
    found = {}
    for path in sorted((root / FOLDER).glob("*.pid")):
        with path.open() as file:
            if not _is_held(file.fileno()):
                continue
            text = file.read().strip()
        if text.isdigit():
            found[path.stem] = int(text)
    return found


def _is_held(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(handle, fcntl.LOCK_UN)
    return False


def _plain(name: str) -> str:
    return name.replace(":", "-").replace("/", "-")
