"""What needs a person: everything that is wrong now and does not mend itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from schemas.figures import DriftFigures, Snapshot
from schemas.jobs import JobState, Stage
from schemas.notices import Trouble
from schemas.phantom import CONSTANCY_PEER, device_of_task
from worker.health.verdict import Check, spoken

#: a shift within three standard errors may be chance alone
_STANDARD_ERRORS: Final = 3.0
_DOING: Final = MappingProxyType({Stage.ESTIMATE: "read", Stage.DELIVER: "delivered"})
_SEX: Final = MappingProxyType({"F": "girls", "M": "boys"})
_TITLES: Final = MappingProxyType(
    {
        "reading": "Reading stands still",
        "delivery": "Delivery stands still",
        "constancy": "The constancy check failed",
        "database": "The database is not usable",
        "disk": "The disk is full",
    }
)
_TASKS: Final = MappingProxyType(
    {
        "seal": ("The audit trail cannot be sealed", "Run `boneage audit verify`."),
        "verify": ("The audit trail is not sound", "Run `boneage audit verify`."),
        "backup": ("The back-up fails", "Look at the space and rights of backups/."),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """From when on somebody is told."""

    destination_down: timedelta
    drift_months: float


def troubles(
    snapshot: Snapshot, checks: Sequence[Check], *, patience: Patience
) -> tuple[Trouble, ...]:
    """Return all that is wrong, as the figures and the checks have it."""
    return (
        *_of_checks(checks),
        *_failed_jobs(snapshot),
        *_overdue(snapshot),
        *_quarantined(snapshot),
        *_destinations(snapshot, patience),
        *_drift(snapshot, patience),
        *_tasks(snapshot),
    )


def _of_checks(checks: Sequence[Check]) -> Iterator[Trouble]:
    for check in checks:
        if not check.is_ok:
            title = _TITLES.get(check.name, check.name)
            yield Trouble(key=f"check:{check.name}", title=title, message=check.message)


def _failed_jobs(snapshot: Snapshot) -> Iterator[Trouble]:
    count = snapshot.jobs[JobState.FAILED].count
    if count:
        message = (
            f"{count} wait for a person. `boneage jobs list --state failed` shows them, "
            "`boneage jobs show ID` why, and `boneage jobs requeue` tries again."
        )
        yield Trouble(key="failed_jobs", title="Failed jobs", message=message, size=count)


def _overdue(snapshot: Snapshot) -> Iterator[Trouble]:
    for stage, count in snapshot.overdue.items():
        if count:
            doing = _DOING[stage]
            message = (
                f"{count} wait longer than `{stage.value}_overdue_minutes` allows to be {doing}. "
                "`boneage jobs list` shows where they stand."
            )
            yield Trouble(
                key=f"overdue:{stage.value}",
                title=f"Images overdue to be {doing}",
                message=message,
                size=count,
            )


def _quarantined(snapshot: Snapshot) -> Iterator[Trouble]:
    count = snapshot.quarantined
    if count:
        message = (
            f"{count} in the last days: a sender used a known SOP Instance UID for other pixels. "
            "See Quarantined in the README."
        )
        yield Trouble(key="quarantined", title="Quarantined images", message=message, size=count)


def _destinations(snapshot: Snapshot, patience: Patience) -> Iterator[Trouble]:
    owed = {one.destination: one for one in snapshot.destinations}
    down = {one.peer: one for one in snapshot.echoes if not one.is_up}
    for name in sorted({*owed, *down} - {CONSTANCY_PEER}):
        silent = snapshot.at - down[name].since if name in down else timedelta()
        figures = owed.get(name)
        oldest_at = figures.waiting.oldest_at if figures and figures.has_refused else None
        waits = snapshot.at - oldest_at if oldest_at else timedelta()
        if max(silent, waits) < patience.destination_down:
            continue
        told = f"C-ECHO has failed for {spoken(silent)} ({down[name].found}). " if silent else ""
        if waits and figures:
            told += f"{figures.waiting.count} objects wait, the oldest for {spoken(waits)}. "
        message = f"{told}Nothing is lost: it is tried again for days. `boneage peers echo {name}`"
        yield Trouble(
            key=f"destination:{name}", title=f"Destination {name} is down", message=message
        )


def _drift(snapshot: Snapshot, patience: Patience) -> Iterator[Trouble]:
    for one in snapshot.drift:
        shift = shift_months(one)
        if shift is not None and abs(shift) >= patience.drift_months:
            message = (
                f"Over the newest {one.count} estimates, bone age minus age is "
                f"{one.mean_months:+.1f} months, {shift:+.1f} from the time before. Ask what has "
                "changed: detector, its processing, who is referred. Run `boneage selftest`."
            )
            title = f"Drift, {_SEX.get(one.sex, one.sex)}"
            yield Trouble(key=f"drift:{one.sex}", title=title, message=message)


def shift_months(one: DriftFigures) -> float | None:
    """Return by how much the mean has moved; ``None``: not by more than chance allows."""
    if one.former_mean_months is None or one.standard_error_months is None:
        return None
    shift = one.mean_months - one.former_mean_months
    return shift if abs(shift) > _STANDARD_ERRORS * one.standard_error_months else None


def _tasks(snapshot: Snapshot) -> Iterator[Trouble]:
    for one in snapshot.periodic:
        if one.failed_at is None or (one.succeeded_at and one.succeeded_at > one.failed_at):
            continue
        title, mend = _TASKS.get(one.name) or _spoken_task(one.name)
        yield Trouble(key=f"task:{one.name}", title=title, message=f"It failed last. {mend}")


def _spoken_task(name: str) -> tuple[str, str]:
    """Return title and mend of a job that has none of its own."""
    device = device_of_task(name)
    if device is None:
        return f"The scheduled job {name!r} fails", "Look at the log of `schedule`."
    mend = (
        "It reads no image until it does; those that came wait in the queue, and it is asked every "
        "five minutes. What it read since its last right answer is in doubt. `boneage doctor`, "
        "`boneage release verify`, device and driver; `boneage audit list --event device_checked`."
    )
    return f"Device {device} does not read the phantom right", mend
