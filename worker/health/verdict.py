"""One thing that must be right, and how it is told."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must be right."""

    name: str
    is_ok: bool
    message: str  #: what is, and where it is not right, how to mend it


def spoken(span: timedelta) -> str:
    """Return a span in the largest unit that fits: "40 seconds", "3 hours"."""
    seconds = max(0, round(span.total_seconds()))
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} second{'s' * (seconds != 1)}"
