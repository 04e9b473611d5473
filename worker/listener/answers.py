"""The answer to a C-STORE in bytes: a handful of elements, which pynetdicom encodes twice over."""

from struct import Struct
from typing import Final

from pynetdicom.dimse_primitives import C_STORE

_ELEMENT: Final = Struct("<HHL")  #: group, element, length, in implicit VR (PS3.7 6.3.1)
_LENGTH: Final = Struct("<HHLL")
_NUMBER: Final = Struct("<HHLH")
_C_STORE_RSP: Final = 0x8001  #: PS3.7 table E.1-1
_NO_DATA_SET: Final = 0x0101
_MORE_TO_SAY: Final = ("ErrorComment", "OffendingElement")


def encoded_answer(answer: C_STORE) -> bytes | None:
    """Return the command set of a response that says nothing but its status; else ``None``."""
    status, message_id = answer.Status, answer.MessageIDBeingRespondedTo
    if status is None or message_id is None:
        return None
    if any(getattr(answer, keyword) is not None for keyword in _MORE_TO_SAY):
        return None
    elements = b"".join(
        (
            _uid(0x0002, answer.AffectedSOPClassUID),
            _NUMBER.pack(0, 0x0100, 2, _C_STORE_RSP),
            _NUMBER.pack(0, 0x0120, 2, message_id),
            _NUMBER.pack(0, 0x0800, 2, _NO_DATA_SET),
            _NUMBER.pack(0, 0x0900, 2, status),
            _uid(0x1000, answer.AffectedSOPInstanceUID),
        )
    )
    return _LENGTH.pack(0, 0, 4, len(elements)) + elements


def _uid(number: int, uid: str | None) -> bytes:
    if uid is None:
        return b""
    value = uid.encode("ascii", "replace")
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, number, len(value)) + value
