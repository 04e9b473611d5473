"""Attributes of a data set as plain text: absent, empty and malformed values never raise here."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

#: a code string, PS3.5 table 6.2-1; anything else may be free text and is not repeated
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}")
#: a date; the form with dots is that of ACR-NEMA, which readers may meet (PS3.5 table 6.2-1)
_DATE = re.compile(r"(\d{4})(\.?)(\d\d)\2(\d\d)")

UNREADABLE = "\N{REPLACEMENT CHARACTER}"


class ImpossibleDateError(ValueError):
    """There is a date, and it is none of the calendar."""


@contextmanager
def lenient_values() -> Iterator[None]:
    """Take values as they are: a malformed one is judged by us, and not quoted in a warning."""
    with config.disable_value_validation():
        yield


def text_of(dataset: Dataset, keyword: str) -> str:
    """Return the value as text without padding, several joined by a backslash; "" if none.

    A value that does not even decode is ``UNREADABLE``: there, but without meaning.
    """
    try:
        value = dataset.get(keyword)
    except (ValueError, TypeError, AttributeError, NotImplementedError, LookupError):
        return UNREADABLE
    if value is None or isinstance(value, Sequence):
        return ""
    if isinstance(value, MultiValue | list | tuple):
        return "\\".join(str(each).strip(" \0") for each in value)
    return str(value).strip(" \0")


def code_of(dataset: Dataset, keyword: str) -> str:
    """Return a code string that may be repeated in a message; other text is not repeated."""
    text = text_of(dataset, keyword)
    return text if _CODE_STRING.fullmatch(text) else "not a code string"


def items_of(dataset: Dataset, keyword: str) -> Iterable[Dataset]:
    """Return the items of a sequence, none if it is absent or no sequence."""
    value = dataset.get(keyword)
    return value if isinstance(value, Sequence) else ()


def date_of(dataset: Dataset, keyword: str) -> date | None:
    """Return the date in a DA, or at the start of a DT; ``None`` if there is none.

    Raises:
        ImpossibleDateError: something is there that is no day of the calendar.
    """
    text = text_of(dataset, keyword)
    if not text:
        return None
    found = _DATE.match(text) if keyword.endswith("DateTime") else _DATE.fullmatch(text)
    if found is None:
        raise ImpossibleDateError
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        raise ImpossibleDateError from None
