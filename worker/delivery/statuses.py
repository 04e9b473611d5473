"""What a C-STORE status means for the object that was sent, and how it is tried again.

Sources: PS3.4 table B.2-1 (Storage), PS3.7 annex C (general statuses). What to do about each is
ours; DESIGN, section 5.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from schemas.config import DeliverySection
from schemas.jobs import RetryPolicy


class Verdict(StrEnum):
    """What happens next to an object that got an answer."""

    STORED = "stored"  #: the destination has it
    RETRY = "retry"  #: waiting may help: again, later, for days
    CLASS_REFUSED = "class_refused"  #: not in this SOP class: the next class of the ladder
    LIMITED = "limited"  #: three tries, then an operator
    PERMANENT = "permanent"  #: the same bytes get the same answer: an operator


DUPLICATE_SOP_INSTANCE = 0x0111  # PS3.7 annex C
MOST_LIMITED_TRIES = 3  # DESIGN, section 5

_EXACT: Mapping[int, Verdict] = MappingProxyType(
    {
        0x0000: Verdict.STORED,  # success
        0xB000: Verdict.STORED,  # warning: coercion of data elements
        0xB006: Verdict.STORED,  # warning: elements discarded
        0xB007: Verdict.STORED,  # warning: data set does not match SOP class
        0x0110: Verdict.RETRY,  # processing failure: what Orthanc says to a full disk
        0x0210: Verdict.RETRY,  # duplicate invocation
        0x0213: Verdict.RETRY,  # resource limitation
        0x0122: Verdict.CLASS_REFUSED,  # SOP class not supported
        0x0106: Verdict.PERMANENT,  # invalid attribute value
        0x0117: Verdict.PERMANENT,  # invalid SOP instance
        0x0119: Verdict.PERMANENT,  # class-instance conflict
        0x0120: Verdict.PERMANENT,  # missing attribute
        0x0121: Verdict.PERMANENT,  # missing attribute value
        0x0124: Verdict.PERMANENT,  # refused: not authorised
        0x0211: Verdict.PERMANENT,  # unrecognised operation
        0x0212: Verdict.PERMANENT,  # mistyped argument
    }
)

#: by the first byte, PS3.4 table B.2-1
_RANGES: Mapping[int, Verdict] = MappingProxyType(
    {
        0xA7: Verdict.RETRY,  # refused: out of resources
        0xA9: Verdict.CLASS_REFUSED,  # error: data set does not match SOP class
    }
)


def judge(status: int, *, is_ours: bool) -> Verdict:
    """Return what ``status`` means; whatever no standard names gets three tries (also 0xCxxx).

    Args:
        status: Status (0000,0900) of the C-STORE-RSP.
        is_ours: this destination took these very bytes from us before, or may have, for an earlier
            answer was lost. Only then is "duplicate" a success: otherwise it may hold something
            else under this UID.
    """
    if status == DUPLICATE_SOP_INSTANCE:
        return Verdict.STORED if is_ours else Verdict.LIMITED
    return _EXACT.get(status) or _RANGES.get(status >> 8, Verdict.LIMITED)


def retry_policy(section: DeliverySection) -> RetryPolicy:
    """Return how one destination is tried again, for objects and for proofs alike."""
    return RetryPolicy(
        attempts=MOST_LIMITED_TRIES,
        first_delay=timedelta(seconds=section.first_retry_seconds),
        factor=2,
        longest_delay=timedelta(seconds=section.longest_retry_seconds),
    )
