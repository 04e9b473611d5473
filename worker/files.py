"""Durable files: write beside, flush to the disk, rename, flush the folder."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


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
    handle, beside = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)  # noqa: PTH105 - the pair of os.fsync, on purpose
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def keep_durably(beside: Path, path: Path) -> None:
    """Flush the finished file ``beside`` and rename it to ``path`` on the same file system."""
    make_folder_durably(path.parent)
    handle = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(beside, path)  # noqa: PTH105 - the pair of os.fsync, on purpose
    sync_folder(path.parent)


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
