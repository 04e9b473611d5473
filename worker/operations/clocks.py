"""Is the time right? Our own clock, and what the images tell of those of their senders.

DICOM has no service that asks a peer for its time. All that can be told of a sender's clock is
whether its images come from the future; a clock that is slow looks like an image that was late.
"""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from worker.listener.spool import SPOOL_FOLDER
from worker.operations.findings import Finding, ok, skipped, warn

_NEWEST: Final = 50
_TOLERANCE: Final = timedelta(minutes=2)
_MOMENTS: Final = (
    ("InstanceCreationDate", "InstanceCreationTime"),
    ("ContentDate", "ContentTime"),
    ("AcquisitionDate", "AcquisitionTime"),
)
_TAGS: Final = [name for pair in _MOMENTS for name in pair]


def examine_clocks(root: Path) -> list[Finding]:
    """Return what is known of the clocks."""
    return [_own(), _of_senders(root)]


def _own() -> Finding:
    now = datetime.now().astimezone()
    told = f"{now:%Y-%m-%d %H:%M:%S %z}"
    program = shutil.which("timedatectl")
    if program is not None:
        try:
            answer = subprocess.run(  # noqa: S603 - systemd's own tool, without any input
                [program, "show", "--property=NTPSynchronized", "--value"],
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            answer = ""
        if answer == "yes":
            return ok("clock", f"{told}, kept by NTP")
        if answer == "no":
            mend = "Let chrony or systemd-timesyncd keep it: ages and reports carry this time."
            return warn("clock", f"{told}, not kept by NTP", mend)
    return skipped("clock", f"{told}; whether NTP keeps it cannot be told here", "Compare it.")


def _of_senders(root: Path) -> Finding:
    what = "clocks of senders"
    ahead = [late for path in _newest(root) if (late := _from_the_future(path)) is not None]
    if not ahead:
        return skipped(what, "cannot be told: DICOM has no service for it, and no image has come")
    most = max(ahead)
    if most > _TOLERANCE:
        minutes = most / timedelta(minutes=1)
        found = f"an image came {minutes:.0f} minutes before it was made, by its own header"
        return warn(what, found, "Compare the clocks (and time zones) of modalities and PACS.")
    told = f"none of the newest {len(ahead)} images is from the future; more DICOM cannot tell"
    return ok(what, told)


def _newest(root: Path) -> Iterator[Path]:
    paths = (root / SPOOL_FOLDER).glob("*/*.dcm")
    by_age = sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
    return islice(by_age, _NEWEST)


def _from_the_future(path: Path) -> timedelta | None:
    """Return by how much an image was made after it came; ``None``: its header does not say."""
    try:
        dataset = dcmread(path, specific_tags=_TAGS, stop_before_pixels=True)
        made_at = _made_at(dataset)
        came_at = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    except (OSError, InvalidDicomError, ValueError):
        return None
    return None if made_at is None else made_at - came_at


def _made_at(dataset: Dataset) -> datetime | None:
    """Return the latest moment in the header, taken as local time (PS3.3 C.12.1.1.8)."""
    moments = []
    for day, clock in _MOMENTS:
        text = f"{dataset.get(day) or ''}{str(dataset.get(clock) or '')[:6]}"
        if len(text) == len("20260131235959"):
            moments.append(datetime.strptime(text, "%Y%m%d%H%M%S").astimezone())
    return max(moments, default=None)
