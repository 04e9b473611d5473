"""What the rounds of the constancy phantom say about this worker."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from schemas.errors import BoneAgeError
from schemas.figures import ConstancyFigures
from schemas.jobs import JobState
from schemas.releases import Phantom
from worker.health.verdict import Check, spoken

_NAME: Final = "constancy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the release that reads new images must say about its phantom."""

    phantom: Phantom
    release_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Constancy:
    """Judges the rounds."""

    expected: Callable[[], Expected]  #: raises BoneAgeError where there is no release
    stalled_after: timedelta

    def check(self, rounds: tuple[ConstancyFigures, ...], at: datetime) -> Check:
        """Say whether the phantom comes round, and comes out right."""
        newest = rounds[0] if rounds else None
        if newest is not None and newest.ended_at is None:
            waits = at - newest.started_at
            if waits > self.stalled_after:
                message = (
                    f"The phantom has been under way for {spoken(waits)} (job {newest.job_id}, "
                    f"{newest.state.value}): images would be, too. Look at the log of `infer` and "
                    "`deliver`."
                )
                return Check(name=_NAME, is_ok=False, message=message)
        return self.value(rounds)

    def value(self, rounds: tuple[ConstancyFigures, ...]) -> Check:
        """Say whether the last phantom that came back came out right; nothing of how long."""
        try:
            expected = self.expected()
        except BoneAgeError as error:
            return Check(name=_NAME, is_ok=False, message=str(error))
        last = next((one for one in rounds if one.ended_at is not None), None)
        if last is None:
            return Check(name=_NAME, is_ok=True, message="The phantom has not gone round yet.")
        if last.release_digest not in (None, expected.release_digest):
            message = "The phantom has not gone round yet with this release."
            return Check(name=_NAME, is_ok=True, message=message)
        is_ok = not is_wrong(last, expected.phantom)
        return Check(name=_NAME, is_ok=is_ok, message=_told(last, expected.phantom, is_ok=is_ok))


def is_wrong(one: ConstancyFigures, phantom: Phantom) -> bool:
    """Say whether a round that ended did not end as it must."""
    if one.state is JobState.CANCELLED:
        return False  # an operator did not want to know
    deviation = deviation_months(one, phantom)
    is_off = deviation is None or abs(deviation) > phantom.tolerance_months
    return is_off or one.state is not JobState.DELIVERED


def deviation_months(one: ConstancyFigures, phantom: Phantom) -> float | None:
    """Return by how many months the phantom came out older than known; ``None``: no number."""
    if one.bone_age_months is None:
        return None
    return one.bone_age_months - phantom.known_value_months


def _told(one: ConstancyFigures, phantom: Phantom, *, is_ok: bool) -> str:
    deviation = deviation_months(one, phantom)
    known = f"{phantom.known_value_months:.1f} ± {phantom.tolerance_months:.1f} months"
    if deviation is None:
        return (
            f"The phantom came back without a number (job {one.job_id}, {one.reason or 'no reason'}"
            f"). `boneage jobs show {one.job_id}` says why; then `boneage selftest`."
        )
    found = f"The phantom came out {deviation:+.2f} months from its known {known}"
    if is_ok:
        return f"{found}."
    if abs(deviation) > phantom.tolerance_months:
        return (
            f"{found}: results cannot be trusted. Stop the worker, run `boneage release verify`, "
            "look at device and driver; then `boneage selftest`."
        )
    return (
        f"{found}, but did not come round (job {one.job_id}, {one.state.value}). "
        f"`boneage jobs show {one.job_id}` says why; then `boneage selftest`."
    )
