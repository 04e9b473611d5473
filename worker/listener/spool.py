"""Images on disk: halves in ``incoming/``, whole ones in ``spool/`` under a name of their content.

A value that arrived over the network never becomes a path, and a file that was acknowledged is
never written again.
"""

import hashlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import error as StructureError  # noqa: N812 - a class with the name of a function
from struct import pack, unpack_from
from typing import Self

from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from schemas.config import StorageSection
from worker.direct import DirectFile, put
from worker.files import keep_durably, sync_folder
from worker.listener.errors import (
    NoRoomError,
    SpoolWriteError,
    StoreRefusedError,
    TooLargeError,
    UnreadableDatasetError,
)
from worker.listener.tenancy import Tenancy
from worker.logs import log

INCOMING_FOLDER = "incoming"
SPOOL_FOLDER = "spool"
_SHARDS = tuple(f"{number:02x}" for number in range(256))  #: how the names of files may begin

#: Real headers reach the study's UID within it, so that nobody reads them back from the disk.
_FRONT_BYTES = 64 * 1024
_DRAIN_BYTES = 64 * 1024
_PREFIX_END = 132  #: PS3.10, 7.1: preamble and "DICM"
_META_START = 144  #: behind the group length, which is the first element
_LONGEST_META_BYTES = 1024  #: three UIDs, two AE titles and their heads have half of it


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """One whole object, durable under its final name."""

    spool_file: str  #: relative to the storage root
    digest: str  #: sha256 of the data set without file meta, hexadecimal
    size_bytes: int  #: of the data set


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What the file meta says (PS3.10, section 7.1); taken from request and context, unchecked."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    #: whence and whither it came: so the file alone says where its results go
    calling_ae: str = ""
    called_ae: str = ""

    def encode(self) -> bytes:
        """Return preamble, prefix and file meta as they stand before the data set."""
        elements = pack("<HH2sHL2s", 2, 1, b"OB", 0, 2, b"\0\1") + b"".join(
            _element(number, value)
            for number, value in (
                (0x0002, self.sop_class_uid),
                (0x0003, self.sop_instance_uid),
                (0x0010, self.transfer_syntax_uid),
                (0x0012, PYDICOM_IMPLEMENTATION_UID),
                (_SENDING_AE, self.calling_ae),
                (_RECEIVING_AE, self.called_ae),
            )
            if value
        )
        length = pack("<HH2sHL", 2, 0, b"UL", 4, len(elements))
        return b"\0" * 128 + b"DICM" + length + elements

    @classmethod
    def decode(cls, head: bytes) -> tuple[Self, int]:
        """Return what ``encode`` wrote at the start of a file, and where its data set begins.

        Raises:
            UnreadableDatasetError: we did not write this.
        """
        values: dict[int, str] = {}
        try:
            if head[_PREFIX_END - 4 : _PREFIX_END] != b"DICM":
                raise UnreadableDatasetError(what="it has no file meta")
            end = _META_START + int(unpack_from("<L", head, _META_START - 4)[0])
            at = _META_START + 14  # behind the version
            while at < end:
                _, number, _, length = unpack_from("<HH2sH", head, at)
                at += 8 + length
                values[number] = head[at - length : at].rstrip(b"\0 ").decode("latin-1")
        except StructureError as error:
            raise UnreadableDatasetError(what="its file meta is cut off") from error
        meta = cls(
            sop_class_uid=values.get(0x0002, ""),
            sop_instance_uid=values.get(0x0003, ""),
            transfer_syntax_uid=values.get(0x0010, ""),
            calling_ae=values.get(_SENDING_AE, ""),
            called_ae=values.get(_RECEIVING_AE, ""),
        )
        return meta, end


_SENDING_AE, _RECEIVING_AE = 0x0017, 0x0018  #: of group 0002


def _element(number: int, text: str) -> bytes:
    is_title = number in (_SENDING_AE, _RECEIVING_AE)
    value = text.encode("latin-1", "replace")
    value += (b" " if is_title else b"\0") * (len(value) % 2)
    return pack("<HH2sH", 2, number, b"AE" if is_title else b"UI", len(value)) + value


class IncomingFile:
    """One object while it arrives; speaks to pynetdicom as its temporary file does.

    A write that fails is remembered, not raised: the rest of the object is drained, so that the
    sender gets a status that it understands instead of a broken connection.
    """

    def __init__(
        self, path: Path, *, meta: FileMeta, limit_bytes: int, memory: memoryview | None = None
    ) -> None:
        head = meta.encode()
        self.path = path
        self.meta = meta
        self.dataset_offset = len(head)
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self.front = b""  #: how the data set begins, as far as it is kept in memory
        self._sha256 = hashlib.sha256()
        self._error: StoreRefusedError | None = None
        self._is_half = True  # there may be a file under ``path``
        self._file: DirectFile | None = None
        self._drain: memoryview | None = None
        try:
            file = path.open("xb", buffering=0)
            self._file = DirectFile(file, head=head, on_step=self._sha256.update, memory=memory)
        except OSError as error:
            self._give_up(SpoolWriteError(errno=error.errno))

    @property
    def name(self) -> str:
        """Return the path as pynetdicom asks for it."""
        return str(self.path)

    @property
    def file(self) -> Self:
        """Return itself: pynetdicom flushes ``file`` after every fragment."""
        return self

    def flush(self) -> None:
        """Do nothing: ``finish`` flushes once."""

    def refuse(self, error: StoreRefusedError) -> None:
        """Drain this object from here on; ``finish`` raises ``error``."""
        self._give_up(error)

    @property
    def room(self) -> memoryview:
        """Return where the next bytes of the data set may be put; ``advance`` says how many."""
        file = self._file
        if file is not None:
            return file.room
        self._drain = self._drain or memoryview(bytearray(_DRAIN_BYTES))
        return self._drain

    def advance(self, count: int) -> None:
        """Append the first ``count`` bytes of ``room`` to the data set."""
        file = self._file
        if file is None:
            return
        self.size_bytes += count
        if self.size_bytes > self._limit_bytes:
            self._give_up(TooLargeError(limit_bytes=self._limit_bytes))
            return
        if len(self.front) < _FRONT_BYTES:
            self.front += file.room[: min(count, _FRONT_BYTES - len(self.front))]
        try:
            file.advance(count)
        except OSError as error:
            self._give_up(SpoolWriteError(errno=error.errno))

    def write(self, fragment: bytes) -> None:
        """Append a fragment of the data set."""
        put(fragment, self)

    def complete(self) -> None:
        """Write what is left and close; for the thread that appends, before another one goes on."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            self._give_up(SpoolWriteError(errno=error.errno))
        self._file = None

    def finish(self) -> str:
        """Return the sha256 of the data set, hexadecimal, once it is complete.

        Raises:
            StoreRefusedError: it was not written whole, for the reason that the sender is told.
        """
        self.complete()
        if self._error is not None:
            raise self._error
        return self._sha256.hexdigest()

    def move_to(self, path: Path) -> None:
        """Make the finished half durable under another name.

        Raises:
            OSError: the disk refused.
        """
        keep_durably(self.path, path)
        self._is_half = False

    def close(self) -> None:
        """Do nothing: pynetdicom closes what the handler has long dealt with."""

    def discard(self) -> None:
        """Remove the half; does nothing once it was kept or discarded."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.abandon()
            except OSError as error:  # what was not written is not wanted either
                log.debug("receive.close_failed", errno=error.errno)
        if not self._is_half:
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("receive.half_left", errno=error.errno)
        else:
            self._is_half = False

    def _give_up(self, error: StoreRefusedError) -> None:
        self._error = error
        self.discard()  # at once: a full disk needs the room


class Spool:
    """The image files below one storage root."""

    def __init__(self, section: StorageSection) -> None:
        self._root = section.root
        self._incoming = section.root / INCOMING_FOLDER
        self._high_mark_percent = section.high_mark_percent
        self._low_mark_percent = min(section.low_mark_percent, section.high_mark_percent)
        self._lock = threading.Lock()
        self._is_full = False
        self._tenancy = Tenancy(section.root)

    def sweep(self) -> int:
        """Make the folders, remove the halves that an earlier process left, and count them.

        Call it before the first association; from now on the root is ours, until ``leave``.

        Raises:
            RootTakenError: another listener has it; nothing was removed.
        """
        self._tenancy.begin()
        self._make_folders()
        halves = [path for path in self._incoming.iterdir() if path.is_file()]
        for half in halves:
            half.unlink(missing_ok=True)
        return len(halves)

    def _make_folders(self) -> None:
        """Make them all at once: who makes a folder has to flush the one that it is in, too."""
        spool = self._root / SPOOL_FOLDER
        spool.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)
        there = {path.name for path in spool.iterdir()}
        for name in _SHARDS:
            if name not in there:
                (spool / name).mkdir(exist_ok=True)
        sync_folder(spool)  # also where all are there: an earlier start may have ended before this
        sync_folder(self._root)

    def leave(self) -> None:
        """Let another listener have the root: nothing is received here any more."""
        self._tenancy.end()

    def open(
        self, meta: FileMeta, memory: memoryview | None = None, *, limit_bytes: int
    ) -> IncomingFile:
        """Return a new half; one that drains the object if the disk is full.

        A data set of more than ``limit_bytes`` is drained and refused as well. ``memory`` is of the
        thread that appends and completes it, as ``DirectFile`` has it.
        """
        path = self._incoming / f"{uuid.uuid4().hex}.part"
        incoming = IncomingFile(path, meta=meta, limit_bytes=limit_bytes, memory=memory)
        try:
            if not self.has_room():
                incoming.refuse(NoRoomError())
        except OSError as error:
            incoming.refuse(SpoolWriteError(errno=error.errno))
        return incoming

    def keep(self, incoming: IncomingFile, *, sop_instance_uid: str) -> KeptFile:
        """Make ``incoming`` durable under the name of its UID and content.

        If that name is there, the same data set was kept before, and that file stays.

        Raises:
            SpoolWriteError: the disk refused.
        """
        digest = incoming.finish()
        relative = _name_of(sop_instance_uid, digest=digest)
        path = self._root / relative
        try:
            if path.exists():
                # it may have come moments before a power cut: its folder may not be on disk yet
                sync_folder(path.parent)
                incoming.discard()
            else:
                incoming.move_to(path)
        except OSError as error:
            raise SpoolWriteError(errno=error.errno) from error
        return KeptFile(spool_file=relative, digest=digest, size_bytes=incoming.size_bytes)

    def holds(self, spool_file: str) -> bool:
        """Say whether a whole file lies under this name."""
        return (self._root / spool_file).is_file()

    def kept_files(self) -> Iterator[str]:
        """Yield the name of every whole file, relative to the storage root, in any order."""
        for path in (self._root / SPOOL_FOLDER).glob("??/*.dcm"):
            yield str(path.relative_to(self._root))

    def kept_at(self, spool_file: str) -> float:
        """Return when a file was written, in seconds since 1970; 0 if it is gone."""
        try:
            return (self._root / spool_file).stat().st_mtime
        except OSError:
            return 0.0

    def read(self, spool_file: str) -> tuple[FileMeta, KeptFile, Path, int]:
        """Return what a kept file says of itself: meta, content, path and start of the data set.

        Raises:
            UnreadableDatasetError: it is not what was once kept under this name.
            OSError: the disk does not give it out.
        """
        path = self._root / spool_file
        with path.open("rb") as file:
            meta, offset = FileMeta.decode(file.read(_LONGEST_META_BYTES))
            file.seek(offset)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.tell() - offset
        if _name_of(meta.sop_instance_uid, digest=digest) != spool_file:
            raise UnreadableDatasetError(what="its content is not that of its name")
        kept = KeptFile(spool_file=spool_file, digest=digest, size_bytes=size_bytes)
        return meta, kept, path, offset

    def has_room(self) -> bool:
        """Say whether the disk may take more: closed at the high mark until below the low one."""
        usage = shutil.disk_usage(self._root)
        percent = 100 * usage.used / (usage.used + usage.free)  # as `df` reckons it
        with self._lock:
            mark = self._low_mark_percent if self._is_full else self._high_mark_percent
            was_full, self._is_full = self._is_full, percent >= mark
            is_full = self._is_full
        if is_full and not was_full:
            log.error("disk.high_mark_reached", percent=round(percent, 1))
        if was_full and not is_full:
            log.info("disk.low_mark_reached", percent=round(percent, 1))
        return not is_full


def _name_of(sop_instance_uid: str, *, digest: str) -> str:
    """Return where a content lies, relative to the storage root: UID and digest, and no path."""
    name = hashlib.sha256(f"{sop_instance_uid}\n{digest}".encode()).hexdigest()
    return f"{SPOOL_FOLDER}/{name[:2]}/{name}.dcm"
