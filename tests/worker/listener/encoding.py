"""Data sets as bytes, so that a test may break them where it wants."""

from struct import pack

DX = "1.2.840.10008.5.1.4.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

_LONG_FORM = ("OB", "OW", "SQ", "UN", "UT")
UNDEFINED = 0xFFFFFFFF


def explicit(
    tag: int, vr: str, value: bytes, *, length: int | None = None, order: str = "<"
) -> bytes:
    size = len(value) if length is None else length
    head = pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in _LONG_FORM:
        return head + pack(f"{order}HL", 0, size) + value
    return head + pack(f"{order}H", size) + value


def implicit(tag: int, value: bytes, *, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return pack("<HHL", tag >> 16, tag & 0xFFFF, size) + value


def uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def item(content: bytes, *, length: int | None = None) -> bytes:
    return implicit(0xFFFEE000, content, length=length)


ITEM_END = implicit(0xFFFEE00D, b"")
SEQUENCE_END = implicit(0xFFFEE0DD, b"")


def dataset(
    *,
    sop_class_uid: str = DX,
    sop_instance_uid: str = "1.2.3",
    study_instance_uid: str = "1.2",
    before_study: bytes = b"",
    after_study: bytes = b"",
    order: str = "<",
) -> bytes:
    """Return an explicit VR data set; ``before_study`` stands between instance and study UID."""
    parts = (
        (0x00080016, sop_class_uid),
        (0x00080018, sop_instance_uid),
        (0x0020000D, study_instance_uid),
    )
    encoded = [explicit(tag, "UI", uid(text), order=order) if text else b"" for tag, text in parts]
    return encoded[0] + encoded[1] + before_study + encoded[2] + after_study
