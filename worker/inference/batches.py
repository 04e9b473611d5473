"""Images of several readers, put to the networks together: whatever waits is the next batch.

A lone image is asked at once; nobody waits for company. While the networks work others come, and
all of them are the next batch. Preparing and finishing go on in the readers' own threads meanwhile.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DeviceError
from schemas.estimates import Estimator, GateVerdict, HandImage, Reading, ReleaseIdentity
from worker.logs import log

P = TypeVar("P")  #: an image that is prepared
A = TypeVar("A")  #: what the networks say to one


class StagedEstimator(Estimator, Protocol[P, A]):
    """An estimator whose ``read`` is three steps. ``models.ensemble`` makes one."""

    def prepare(self, image: HandImage) -> P:
        """Return an image ready for the networks; from any thread."""
        ...

    def ask(self, prepared: Sequence[P]) -> list[A]:
        """Return what the networks say to each, in order; from one thread."""
        ...

    def finish(self, prepared: P, answer: A) -> Reading:
        """Return the reading of one image; from any thread."""
        ...


@dataclass(frozen=True, slots=True)
class _Question(Generic[P, A]):
    prepared: P
    answer: "Future[A]" = field(default_factory=Future)


class Batches(Generic[P, A]):
    """An ``Estimator`` for several threads; its networks are asked in one thread of its own."""

    def __init__(self, estimator: StagedEstimator[P, A]) -> None:
        self._estimator = estimator
        self._waiting: deque[_Question[P, A]] = deque()
        self._device = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self._doubt: DeviceError | None = None  # of the device thread alone

    @property
    def release(self) -> ReleaseIdentity:
        """Which release this is."""
        return self._estimator.release

    @property
    def age_range_months(self) -> tuple[float, float]:
        """Youngest and oldest chronological age that the release reads."""
        return self._estimator.age_range_months

    def check(self, pixels: NDArray[np.float32]) -> GateVerdict:
        """Say whether these pixels may be read, in the thread that asks: it needs no device."""
        return self._estimator.check(pixels)

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        """Return a reading for each image, in order.

        Raises:
            DeviceError: the device is in doubt, whoever's image it failed on; nothing is asked
                any more.
            Exception: what reading this very image alone raises.
        """
        prepared = [self._estimator.prepare(image) for image in images]
        answers = [self._ask(one) for one in prepared]
        return [
            self._estimator.finish(one, answer.result())
            for one, answer in zip(prepared, answers, strict=True)
        ]

    def _ask(self, prepared: P) -> "Future[A]":
        question: _Question[P, A] = _Question(prepared)
        self._waiting.append(question)
        self._device.submit(self._answer_waiting)
        return question.answer

    def _answer_waiting(self) -> None:
        """Answer all that wait; they may have been taken with an earlier one already."""
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if batch:
            self._answer(batch)

    def _answer(self, batch: Sequence[_Question[P, A]]) -> None:
        """Give each its answer; after an error of a batch each is asked alone, and has its own."""
        try:
            answered = self._said(batch)
        except DeviceError as error:
            self._doubt = error
            _refuse(batch, error)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever's image it is
            if len(batch) == 1:
                _refuse(batch, error)
                return
            log.warning("batches.asked_alone", count=len(batch), family=type(error).__name__)
            for one in batch:
                self._answer([one])
        else:
            for one, answer in answered:
                one.answer.set_result(answer)

    def _said(self, batch: Sequence[_Question[P, A]]) -> list[tuple[_Question[P, A], A]]:
        if self._doubt is not None:
            raise self._doubt
        answers = self._estimator.ask([one.prepared for one in batch])
        return list(zip(batch, answers, strict=True))


def _refuse(batch: Sequence[_Question[P, A]], error: Exception) -> None:
    for one in batch:
        one.answer.set_exception(error)
