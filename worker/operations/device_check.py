"""The phantom, read on one device: each process of `infer` asks its own.

The round of the constancy check goes to whichever device takes it first. Of several, one may
reckon wrong for weeks before the phantom happens to come by: this asks each at its start, and as
often as the round goes. A device that answers wrong reads no child until it answers right.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Timer
from typing import Protocol

from models.phantom import draw_phantom
from schemas.errors import BoneAgeError, DeviceError
from schemas.images import Sex
from schemas.phantom import task_of_device
from schemas.releases import Phantom
from worker.inference.estimate import ImageReader
from worker.inference.phantom import phantom_radiograph
from worker.inference.received import ReceivedImage, received
from worker.logs import log

CHECKED = "device_checked"
#: a device that was wrong is asked again after so long; the images wait in the queue
ASK_AGAIN_SECONDS = 300.0


class Note(Protocol):
    """``PeriodicRuns.note``."""

    def __call__(self, name: str, *, is_success: bool) -> None: ...  # noqa: D102 - see PeriodicRuns


class Record(Protocol):
    """``JobQueue.record_event``."""

    def __call__(  # noqa: D102 - see JobQueue
        self, *, event: str, reason: str, detail: dict[str, str | float | bool]
    ) -> None: ...


@dataclass(slots=True, kw_only=True)
class DeviceCheck:
    """One device, and when it was asked last."""

    reader: ImageReader
    phantom: Phantom
    device: str  #: as the settings name it
    every: timedelta  #: zero: never
    note: Note
    record: Record
    clock: Callable[[], float] = time.monotonic  #: seconds
    _due_at: float = field(default=float("-inf"), init=False)
    _is_right: bool = field(default=True, init=False)

    def run_when_due(self) -> bool:
        """Read the phantom if it is time, and write down what came out.

        Returns:
            Whether the last answer was right: otherwise no child may be read here.

        Raises:
            DeviceError: the device is in doubt; that is written down, too.
        """
        if not self.every or self.clock() < self._due_at:
            return self._is_right
        months, code = None, ""
        try:
            months = phantom_months(self.reader, self.phantom)
        except DeviceError as error:
            self._write(None, error.code)
            raise
        except BoneAgeError as error:
            code = error.code
        self._is_right = self._write(months, code)
        seconds = self.every.total_seconds()
        self._due_at = self.clock() + (
            seconds if self._is_right else min(seconds, ASK_AGAIN_SECONDS)
        )
        return self._is_right

    @contextmanager
    def ending(self, over: Event) -> Iterator[None]:
        """Set ``over`` when the device is to be asked again."""
        if not self.every:
            yield
            return
        timer = Timer(max(0.0, self._due_at - self.clock()), over.set)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _write(self, months: float | None, code: str) -> bool:
        """Write the answer down; return whether it is right."""
        deviation = None if months is None else months - self.phantom.known_value_months
        is_right = deviation is not None and abs(deviation) <= self.phantom.tolerance_months
        detail: dict[str, str | float | bool] = {"device": self.device, "is_right": is_right}
        if deviation is not None:
            detail["deviation_months"] = round(deviation, 3)
        say = log.info if is_right else log.error
        say("device.right" if is_right else "device.wrong", device=self.device, code=code)
        try:
            self.note(task_of_device(self.device), is_success=is_right)
            self.record(event=CHECKED, reason=code, detail=detail)
        except BoneAgeError as error:  # the database is away: images wait, too
            log.error("device.not_noted", device=self.device, code=error.code)
        return is_right


def phantom_image(phantom: Phantom) -> ReceivedImage:
    """Return the phantom as an image that arrived now."""
    sex = Sex(phantom.sex)
    return received(
        phantom_radiograph(
            draw_phantom(age_months=phantom.age_months, sex=sex),
            age_months=phantom.age_months,
            sex=sex,
            taken_at=datetime.now().astimezone(),
        )
    )


def phantom_months(reader: ImageReader, phantom: Phantom) -> float:
    """Return the bone age of the phantom in months, as this reader has it.

    Raises:
        BoneAgeError: it does not read it at all.
    """
    return reader.examine(phantom_image(phantom)).content.estimates[0].age_months
