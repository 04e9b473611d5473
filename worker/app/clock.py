"""The one door for time: everything built here asks it, and tests set it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the time of this host, aware, in its own zone (reports carry local time)."""
    return datetime.now().astimezone()


def utc_now() -> datetime:
    """Return the time of this host in UTC, as it is kept."""
    return datetime.now(tz=UTC)
