"""Read the few attributes that receiving needs, and nothing else, out of an encoded data set.

Own code rather than ``dcmread``: pydicom inflates a deflated data set whole (a bomb of a few
megabytes fills the memory), decodes the character set on the way, and quotes values in its
warnings. Here no text is decoded, values are skipped unread, and reading ends before the pixels.
"""

import contextlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Protocol

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from worker.listener.errors import UnreadableDatasetError

CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
ACCESSION_NUMBER = 0x00080050
MANUFACTURER = 0x00080070
MODEL_NAME = 0x00081090
PATIENT_ID = 0x00100020
STUDY_INSTANCE_UID = 0x0020000D
_WANTED = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID, MANUFACTURER, MODEL_NAME, STUDY_INSTANCE_UID})

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_HEAD_BYTES = 8  #: tag, then VR and short length, or a long length
_LENGTH_BYTES = 4
_DELIMITERS = 0xFFFE  #: the group of items and their ends, which never have a VR
_LONG_FORM = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)
_UID = re.compile(r"[0-9.]{1,64}")  # PS3.5 6.2; leading zeros of a component are met in the field

#: A longer value of a wanted attribute is no UID and no name of a device.
_LONGEST_VALUE = 1024
_DEEPEST_SEQUENCE = 16
#: Real headers reach the study's UID within kilobytes; this bounds a deflated bomb.
_LONGEST_DEFLATED_HEADER = 16 * 1024 * 1024
_INFLATE_STEP = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectIdentity:
    """Who an object says it is; ``None`` where the attribute is absent or empty."""

    sop_class_uid: str | None
    sop_instance_uid: str | None
    study_instance_uid: str | None
    manufacturer: bytes  #: as encoded, padding stripped
    model_name: bytes  #: as encoded, padding stripped


def is_uid(text: str) -> bool:
    """Say whether ``text`` has the form of a UID."""
    return _UID.fullmatch(text) is not None


def read_identity(
    path: Path, *, offset: int, transfer_syntax_uid: str, front: bytes = b""
) -> ObjectIdentity:
    """Return the identity of the data set that begins ``offset`` bytes into the file.

    ``front`` is how it begins, of one who has that in memory: mostly the disk need not be asked.

    Raises:
        UnreadableDatasetError: the bytes are no data set in this transfer syntax.
        OSError: the file cannot be read.
    """
    values = read_values(
        path, offset=offset, transfer_syntax_uid=transfer_syntax_uid, wanted=_WANTED, front=front
    )
    if not values.keys() & {SOP_CLASS_UID, SOP_INSTANCE_UID}:
        raise UnreadableDatasetError(what="it has neither SOP Class UID nor SOP Instance UID")
    return ObjectIdentity(
        sop_class_uid=_uid(values.get(SOP_CLASS_UID)),
        sop_instance_uid=_uid(values.get(SOP_INSTANCE_UID)),
        study_instance_uid=_uid(values.get(STUDY_INSTANCE_UID)),
        manufacturer=values.get(MANUFACTURER, b""),
        model_name=values.get(MODEL_NAME, b""),
    )


def read_values(
    path: Path,
    *,
    offset: int,
    transfer_syntax_uid: str,
    wanted: frozenset[int],
    front: bytes = b"",
) -> dict[int, bytes]:
    """Return the wanted values up to Study Instance UID as encoded, padding stripped.

    Raises:
        UnreadableDatasetError: the bytes are no data set in this transfer syntax.
        OSError: the file cannot be read.
    """
    is_deflated = transfer_syntax_uid == DeflatedExplicitVRLittleEndian
    is_big_endian = transfer_syntax_uid == ExplicitVRBigEndian
    if front and not is_deflated:
        source: _Source = _Front(front, size=path.stat().st_size - offset)
        with contextlib.suppress(_BehindFrontError):
            return _Reader(source, is_big_endian=is_big_endian, wanted=wanted).values()
    with path.open("rb") as file:
        file.seek(0, 2)
        end = file.tell()
        file.seek(offset)
        source = _Inflated(file) if is_deflated else _File(file, end=end)
        return _Reader(source, is_big_endian=is_big_endian, wanted=wanted).values()


def _uid(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value else None


class _Source(Protocol):
    """Bytes that are read or skipped from front to back."""

    def read(self, count: int) -> bytes:
        """Return exactly ``count`` bytes, or fewer at the end."""

    def skip(self, count: int) -> None:
        """Leave out ``count`` bytes.

        Raises:
            UnreadableDatasetError: there are not so many.
        """


class _File:
    """A data set as it lies on disk."""

    def __init__(self, file: BinaryIO, *, end: int) -> None:
        self._file = file
        self._end = end

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def skip(self, count: int) -> None:
        if self._file.tell() + count > self._end:
            raise UnreadableDatasetError(what="a value runs past the end")
        self._file.seek(count, 1)


class _BehindFrontError(Exception):
    """What is wanted stands behind the part that is in memory."""


class _Front:
    """The beginning of a data set, from memory; ``size`` is that of the whole."""

    def __init__(self, front: bytes, *, size: int) -> None:
        self._front = front
        self._size = size
        self._at = 0

    def read(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._front) < self._size:
            raise _BehindFrontError
        taken, self._at = self._front[self._at : end], end
        return taken

    def skip(self, count: int) -> None:
        if self._at + count > self._size:
            raise UnreadableDatasetError(what="a value runs past the end")
        self._at += count


class _Inflated:
    """A deflated data set, inflated step by step and never whole (PS3.5 A.5)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ready = b""
        self._total = 0

    def read(self, count: int) -> bytes:
        while len(self._ready) < count and self._inflate():
            pass
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def skip(self, count: int) -> None:
        while count:
            taken = len(self.read(min(count, _INFLATE_STEP)))
            if not taken:
                raise UnreadableDatasetError(what="a value runs past the end")
            count -= taken

    def _inflate(self) -> bool:
        packed = self._inflater.unconsumed_tail or self._file.read(_INFLATE_STEP)
        try:
            more = self._inflater.decompress(packed, _INFLATE_STEP)
        except zlib.error as error:
            raise UnreadableDatasetError(what="it does not inflate") from error
        self._total += len(more)
        if self._total > _LONGEST_DEFLATED_HEADER:
            raise UnreadableDatasetError(what="its inflated header is too long")
        self._ready += more
        return bool(more) or (bool(packed) and not self._inflater.eof)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Element:
    """The head of one data element, just before its value."""

    tag: int
    vr: bytes  #: b"" in implicit VR
    length: int


class _Reader:
    """Walks the elements of one data set (PS3.5, section 7)."""

    def __init__(self, source: _Source, *, is_big_endian: bool, wanted: frozenset[int]) -> None:
        self._wanted = wanted
        order = ">" if is_big_endian else "<"
        self._source = source
        self._is_implicit = False
        self._tag = Struct(f"{order}HH")
        self._short = Struct(f"{order}H")
        self._long = Struct(f"{order}L")

    def values(self) -> dict[int, bytes]:
        """Return the wanted values; reading ends after the last of them or behind its place."""
        found: dict[int, bytes] = {}
        is_first = True
        while (element := self._element(is_first=is_first)) is not None:
            is_first = False
            if element.tag > STUDY_INSTANCE_UID:
                break
            if element.tag in self._wanted:
                found[element.tag] = self._value(element)
            else:
                self._skip_value(element, depth=0)
        return found

    def _element(self, *, is_first: bool = False) -> _Element | None:
        head = self._source.read(_HEAD_BYTES)
        if not head:
            return None
        if len(head) < _HEAD_BYTES:
            raise UnreadableDatasetError(what="it ends inside an element")
        group, number = self._tag.unpack_from(head)
        tag = group << 16 | number
        vr = head[4:6]
        has_vr = vr.isalpha() and vr.isupper()
        if is_first:
            # not the negotiated syntax decides: some senders encode otherwise than they
            # announced, and pydicom, which reads the file later, looks at the bytes as well
            self._is_implicit = not has_vr
        if group == _DELIMITERS or self._is_implicit or not has_vr:
            return _Element(tag=tag, vr=b"", length=self._long.unpack_from(head, 4)[0])
        if vr not in _LONG_FORM:
            return _Element(tag=tag, vr=vr, length=self._short.unpack_from(head, 6)[0])
        length = self._source.read(_LENGTH_BYTES)
        if len(length) < _LENGTH_BYTES:
            raise UnreadableDatasetError(what="it ends inside an element")
        return _Element(tag=tag, vr=vr, length=self._long.unpack(length)[0])

    def _value(self, element: _Element) -> bytes:
        if element.length > _LONGEST_VALUE:
            raise UnreadableDatasetError(what="a UID or device name is too long")
        value = self._source.read(element.length)
        if len(value) < element.length:
            raise UnreadableDatasetError(what="a value runs past the end")
        return value.strip(b"\0 ")

    def _skip_value(self, element: _Element, *, depth: int) -> None:
        if element.length != _UNDEFINED:
            self._source.skip(element.length)
            return
        if depth >= _DEEPEST_SEQUENCE:
            raise UnreadableDatasetError(what="its sequences are nested too deeply")
        was_implicit = self._is_implicit
        # PS3.5 6.2.2: the items of an undefined-length UN are encoded in implicit VR
        self._is_implicit = was_implicit or element.vr == b"UN"
        self._skip_items(depth=depth)
        self._is_implicit = was_implicit

    def _skip_items(self, *, depth: int) -> None:
        while (item := self._inner()).tag != _SEQUENCE_END:
            if item.tag != _ITEM:
                raise UnreadableDatasetError(what="a sequence holds something other than items")
            if item.length != _UNDEFINED:
                self._source.skip(item.length)
                continue
            while (element := self._inner()).tag != _ITEM_END:
                self._skip_value(element, depth=depth + 1)

    def _inner(self) -> _Element:
        element = self._element()
        if element is None:
            raise UnreadableDatasetError(what="it ends inside a sequence")
        return element
