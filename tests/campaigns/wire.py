"""DICOM upper layer by hand (PS3.8, section 9.3): bytes that a campaign may break."""

import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from struct import pack, unpack
from types import TracebackType
from typing import Self

from tests.worker.listener.encoding import implicit, uid

ASSOCIATE_RQ, ASSOCIATE_AC, P_DATA, RELEASE_RQ = 1, 2, 4, 5
LIMIT_SECONDS = 60.0

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_STATUS_ELEMENT = b"\0\0\0\x09\2\0\0\0"  # (0000,0900), two bytes
_FRAGMENT_BYTES = 16_000


class HangError(AssertionError):
    """The listener neither answered nor closed."""


def pdu(kind: int, body: bytes) -> bytes:
    return pack(">BBL", kind, 0, len(body)) + body


def item(kind: int, body: bytes) -> bytes:
    return pack(">BBH", kind, 0, len(body)) + body


def association_request(
    *contexts: tuple[str, str], calling_ae: str = "PACS", called_ae: str = "BONEAGE"
) -> bytes:
    """Return A-ASSOCIATE-RQ; its contexts of (SOP class, transfer syntax) are 1, 3, 5 …"""
    proposed = b"".join(
        item(
            0x20,
            pack(">BBBB", 2 * number + 1, 0, 0, 0)
            + item(0x30, sop_class_uid.encode())
            + item(0x40, transfer_syntax_uid.encode()),
        )
        for number, (sop_class_uid, transfer_syntax_uid) in enumerate(contexts)
    )
    user = item(0x51, pack(">L", 131_072)) + item(0x52, b"1.2.3.4") + item(0x55, b"CAMPAIGN")
    titles = called_ae.ljust(16).encode() + calling_ae.ljust(16).encode()
    head = pack(">HH", 1, 0) + titles + bytes(32)
    body = head + item(0x10, _APPLICATION_CONTEXT.encode()) + proposed + item(0x50, user)
    return pdu(ASSOCIATE_RQ, body)


def store_request(
    content: bytes, *, sop_class_uid: str, sop_instance_uid: str, context_id: int = 1
) -> list[bytes]:
    """Return one C-STORE request as PDUs: the command, then the data set in fragments."""
    elements = (
        implicit(0x00000002, uid(sop_class_uid))
        + implicit(0x00000100, b"\1\0")  # C-STORE-RQ
        + implicit(0x00000110, b"\1\0")
        + implicit(0x00000700, b"\0\0")
        + implicit(0x00000800, b"\1\0")
        + implicit(0x00001000, uid(sop_instance_uid))
    )
    command = implicit(0x00000000, pack("<L", len(elements))) + elements
    parts = [
        content[start : start + _FRAGMENT_BYTES]
        for start in range(0, max(len(content), 1), _FRAGMENT_BYTES)
    ]
    flags = [0] * (len(parts) - 1) + [2]
    return [fragment(context_id, 3, command)] + [
        fragment(context_id, flag, part) for flag, part in zip(flags, parts, strict=True)
    ]


def fragment(context_id: int, control: int, value: bytes) -> bytes:
    return pdu(P_DATA, pack(">LBB", len(value) + 2, context_id, control) + value)


class Wire:
    """One TCP connection to the listener, spoken by hand."""

    def __init__(self, port: int, *, address: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(
            ("127.0.0.1", port), LIMIT_SECONDS, source_address=(address, 0)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, *parts: bytes) -> bool:
        """Send; False: the listener has closed."""
        try:
            self._socket.sendall(b"".join(parts))
        except TimeoutError:
            raise HangError("it does not read") from None
        except OSError:
            return False
        return True

    def read_pdu(self) -> tuple[int, bytes] | None:
        """Return kind and body of the next PDU; none: the listener has closed.

        Raises:
            HangError: neither came in time.
        """
        head = self._read(6)
        if len(head) < 6:
            return None
        kind, _, length = unpack(">BBL", head)
        return kind, self._read(length)

    def finish(self) -> None:
        """Say that no more will come, and wait until the listener has closed as well.

        Raises:
            HangError: it does not.
        """
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        while self._read(65_536):
            pass

    def associate(self, request: bytes) -> bool:
        """Send a request for an association; say whether it was accepted."""
        answer = self.read_pdu() if self.send(request) else None
        return answer is not None and answer[0] == ASSOCIATE_AC

    def store(self, request: Sequence[bytes]) -> int | None:
        """Send one C-STORE request and return its status; none: there was no answer."""
        answer = self.read_pdu() if self.send(*request) else None
        return status_in(answer[1]) if answer is not None and answer[0] == P_DATA else None

    def _read(self, count: int) -> bytes:
        received = b""
        try:
            while len(received) < count and (part := self._socket.recv(count - len(received))):
                received += part
        except TimeoutError:
            raise HangError("it neither answers nor closes") from None
        except OSError:
            return b""
        return received


def status_in(body: bytes) -> int | None:
    """Return the status of the response in the body of a P-DATA PDU."""
    place = body.find(_STATUS_ELEMENT)
    try:
        (status,) = unpack("<H", body[place + 8 : place + 10])
    except struct.error:
        return None
    return int(status) if place >= 0 else None
