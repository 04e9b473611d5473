"""Durable files: write beside, flush to the disk, rename, flush the folder."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from worker.direct import DirectFile, put

#: from here on past the cache: see deploy/decisions/0066
_LARGE_BYTES = 512 * 1024


def write_durably(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that it is there, whole, after a power cut.

    Raises:
        OSError: the disk refused; no half-written file stands under ``path``.
    """
    write_all_durably(path.parent, {path.name: content})


def write_all_durably(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files, by their names, into one folder; as ``write_durably``, for all of them together.

    Each is whole under its name or not there; the names are flushed once, after the last.

    Raises:
        OSError: the disk refused; some of them may be there.
    """
    make_folder_durably(folder)
    for name, content in files.items():
        _write_whole(folder / name, content)
    sync_folder(folder)


def _write_whole(path: Path, content: bytes) -> None:
    """Write, flush and rename a file; its name is not flushed yet."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    beside = Path(name)
    try:
        _fill(handle, content)
        _flush_and_rename(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _fill(handle: int, content: bytes) -> None:
    """Write a file through the cache of the kernel, a large one past it, and close it."""
    if len(content) < _LARGE_BYTES:
        with os.fdopen(handle, "wb") as small:
            small.write(content)
        return
    file = DirectFile(os.fdopen(handle, "wb", buffering=0))
    try:
        put(content, file)
    except BaseException:
        file.abandon()
        raise
    file.close()


def keep_durably(beside: Path, path: Path) -> None:
    """Flush the finished file ``beside`` and rename it to ``path`` on the same file system."""
    make_folder_durably(path.parent)
    _flush_and_rename(beside, path)
    sync_folder(path.parent)


def _flush_and_rename(beside: Path, path: Path) -> None:
    handle = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(beside, path)  # noqa: PTH105 - the pair of os.fsync, on purpose


def make_folder_durably(folder: Path) -> None:
    """Make ``folder``, with those above it, so that each survives a power cut."""
    if folder.is_dir():
        return
    make_folder_durably(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder, so that a rename inside it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
