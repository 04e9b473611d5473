"""Keep out of the listener what it never uses: it moves bytes, and decodes no pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from worker.lean import load_without

#: What pydicom 3.0 loads at its own import wherever it is installed: forty megabytes and a third of
#: a second. All of it is optional there.
_FOR_PIXELS: Final = (
    *("numpy", "PIL", "gdcm", "jpeg_ls", "pylibjpeg", "libjpeg", "openjpeg", "rle"),
    *("requests", "tqdm"),  # for test files of its own that it would fetch
)

_LONGEST_UID: Final = 64  #: PS3.5 table 6.2-1


def load_pydicom_without_pixels() -> None:
    """Load pydicom as if nothing were installed that decodes; does nothing if it is loaded."""
    load_without("pydicom", hidden=_FOR_PIXELS)


@contextmanager
def uids_checked_once() -> Iterator[None]:
    """Let a UID that a peer names be judged once, not at each of the steps that pass it on.

    An association of 128 contexts hands some two thousand on; each was matched with a pattern, and
    what came of that was a warning that nobody sees. What a UID must be to be stored is asked in
    ``header.py``; what pynetdicom refuses it still refuses.
    """
    from pydicom import config  # noqa: PLC0415 - not before it was loaded without pixels
    from pynetdicom import _config  # noqa: PLC0415 - likewise

    settings = cast("Any", config.settings)
    mode, judge = settings.reading_validation_mode, _config.VALIDATORS["UI"]
    settings.reading_validation_mode = config.IGNORE
    _config.VALIDATORS["UI"] = _may_be_uid
    try:
        yield
    finally:
        settings.reading_validation_mode, _config.VALIDATORS["UI"] = mode, judge


def _may_be_uid(value: object) -> tuple[bool, str]:
    """Judge as pynetdicom does, which makes two copies of ``value`` for it; "" is well."""
    if not isinstance(value, str):
        return False, "must be pydicom.uid.UID"
    if not value:
        return False, "must not be an empty str"
    if len(value) > _LONGEST_UID:
        return False, "must not exceed 64 characters"
    return True, ""
