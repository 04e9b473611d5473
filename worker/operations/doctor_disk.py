"""Does the disk of the storage root do what our promise needs: room, rights, and a true fsync?"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

from schemas.config import Config, StorageSection
from worker.files import write_durably
from worker.operations.findings import Finding, fail, ok, warn
from worker.queue.mounts import NETWORK_FILE_SYSTEMS, file_system_of

_WRITES: Final = 20
_BLOCK: Final = b"\x5a" * 65536
#: a write, two flushes and a rename in less: memory, or a disk that does not do what it says. The
#: fastest data-centre SSDs with a capacitor take about 0.02 ms for one flush
_TOO_FAST_MS: Final = 0.03
_SLOW_MS: Final = 100.0
_IN_MEMORY: Final = ("tmpfs", "ramfs")
_OTHERS: Final = 0o077
_GIGABYTE: Final = 1e9
_LITTLE_BYTES: Final = 10e9


def examine_disk(config: Config) -> list[Finding]:
    """Return what is found about the disk; leaves nothing behind."""
    root = config.storage.root
    folder = next(one for one in (root, *root.parents) if one.exists())
    return [
        *_space(folder, config.storage),
        *_rights(root, folder),
        *_kind(folder, is_shared=bool(config.database.url)),
        *_flushing(folder),
    ]


def _space(folder: Path, storage: StorageSection) -> Iterator[Finding]:
    usage = shutil.disk_usage(folder)
    used, mark = 100 * usage.used / (usage.used + usage.free), storage.high_mark_percent
    told = f"{used:.0f} % used, {usage.free / _GIGABYTE:.0f} GB free; refused from {mark:.0f} % on"
    if used >= mark:
        yield fail("disk space", told, "Free space: images are refused now.")
    elif used >= storage.low_mark_percent or usage.free < _LITTLE_BYTES:
        yield warn("disk space", told, "Free space soon; see the sizing in the documents.")
    else:
        yield ok("disk space", told)


def _rights(root: Path, folder: Path) -> Iterator[Finding]:
    if folder != root:
        yield ok("storage rights", f"{root} is made at the first start, in {folder}")
    elif root.stat().st_mode & _OTHERS:
        found = f"others may enter {root}: rights {root.stat().st_mode & 0o777:o}"
        yield warn("storage rights", found, f"chmod 700 {root}: it holds images of patients.")
    else:
        yield ok("storage rights", f"{root} belongs to this user alone")


def _kind(folder: Path, *, is_shared: bool) -> Iterator[Finding]:
    kind = file_system_of(folder)
    if kind in _IN_MEMORY:
        found = f"{kind}: everything is gone after a restart of the machine"
        yield fail("file system", found, "Set [storage] root to a real disk.")
    elif kind in NETWORK_FILE_SYSTEMS and not is_shared:
        found = f"{kind}: SQLite's locks do not hold there"
        yield fail("file system", found, "Set [storage] root to a local disk, or use PostgreSQL.")
    else:
        yield ok("file system", kind or "the host does not say which")


def _flushing(folder: Path) -> Iterator[Finding]:
    """Measure what the listener does for each image: write, flush, rename, flush the folder."""
    took = []
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as name:
        for number in range(_WRITES):
            started = time.perf_counter()
            write_durably(Path(name) / f"{number}", _BLOCK)
            took.append(1000 * (time.perf_counter() - started))
    middle = median(took)
    told = f"{middle:.2f} ms for 64 KB with both flushes, the worst of {_WRITES} {max(took):.1f} ms"
    if middle < _TOO_FAST_MS:
        mend = "Ask who runs this disk or virtual machine whether flushes reach something durable."
        yield warn("fsync", f"{told}: faster than a disk can be", mend)
    elif middle > _SLOW_MS:
        yield warn("fsync", f"{told}: each image waits for it", "Use a faster disk.")
    else:
        yield ok("fsync", told)
