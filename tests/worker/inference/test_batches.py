"""Several readers and one device: what is asked together, and what becomes of each."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import DeviceError, PermanentError
from schemas.estimates import Estimator, GateVerdict, HandImage, Reading, ReleaseIdentity
from schemas.images import Sex
from tests.fakes import STUB_RELEASE, StubEstimator
from tests.orthanc import wait_for
from worker.inference.batches import Batches

WAIT_SECONDS = 20


class SpoiltError(PermanentError):
    code = "test.spoilt"


def fails_never(_batch: Sequence[HandImage]) -> None:
    """Every batch can be read."""


class Networks:
    """A staged estimator that can be held, and writes down what it was asked together."""

    def __init__(self, fail: Callable[[Sequence[HandImage]], None] = fails_never) -> None:
        self.asked: list[int] = []  # how many images, each time
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._fail = fail
        self._stub = StubEstimator(age_months=None)

    @property
    def release(self) -> ReleaseIdentity:
        return STUB_RELEASE

    @property
    def age_range_months(self) -> tuple[float, float]:
        return self._stub.age_range_months

    def months(self, image: HandImage) -> float:
        return self._stub.months(image.pixels, image.sexes[0])

    def check(self, pixels: NDArray[np.float32]) -> GateVerdict:
        return self._stub.check(pixels)

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        return self._stub.read(images)

    def prepare(self, image: HandImage) -> HandImage:
        return image

    def ask(self, prepared: Sequence[HandImage]) -> list[Reading]:
        self.asked.append(len(prepared))
        self.is_asked.set()
        assert self.may_answer.wait(WAIT_SECONDS)
        self._fail(prepared)
        return self._stub.read(prepared)

    def finish(self, prepared: HandImage, answer: Reading) -> Reading:
        assert prepared.pixels.ndim == 2
        return answer


def an_image(number: int) -> HandImage:
    return HandImage(pixels=np.full((4, 3), 2 * number + 1, dtype=np.float32), sexes=(Sex.MALE,))


def read_together(networks: Networks, images: Sequence[HandImage]) -> list["Future[list[Reading]]"]:
    """Ask for one image, and for all others, each in a thread of its own, while it is read."""
    batches = Batches(networks)
    networks.may_answer.clear()
    with ThreadPoolExecutor(len(images)) as readers:
        asked = [readers.submit(batches.read, images[:1])]
        assert networks.is_asked.wait(WAIT_SECONDS)
        asked += [readers.submit(batches.read, [one]) for one in images[1:]]
        others = len(images) - 1
        wait_for(lambda: len(batches._waiting) == others)  # noqa: SLF001 - nothing else tells
        networks.may_answer.set()
    return asked


def test_it_is_an_estimator_that_says_what_the_one_behind_it_says() -> None:
    networks = Networks()

    batches: Estimator = Batches(networks)

    assert batches.release == networks.release
    assert batches.age_range_months == networks.age_range_months
    assert batches.check(an_image(1).pixels).refusal is None


def test_a_lone_image_does_not_wait_for_company() -> None:
    networks = Networks()

    (reading,) = Batches(networks).read([an_image(1)])

    assert networks.asked == [1]
    assert reading.estimates[0].age_months == networks.months(an_image(1))


def test_all_that_wait_are_asked_together() -> None:
    networks = Networks()

    read_together(networks, [an_image(number) for number in range(6)])

    assert networks.asked == [1, 5]


def test_each_reader_gets_the_answer_to_its_own_image() -> None:
    networks = Networks()
    images = [an_image(number) for number in range(6)]

    said = read_together(networks, images)

    months = [one.result()[0].estimates[0].age_months for one in said]
    assert months == [networks.months(image) for image in images]
    assert len(set(months)) == len(images)


def test_several_images_of_one_reader_are_answered_in_order() -> None:
    networks = Networks()
    images = [an_image(number) for number in range(5)]

    readings = Batches(networks).read(images)

    months = [one.estimates[0].age_months for one in readings]
    assert months == [networks.months(image) for image in images]


def test_an_image_that_breaks_its_batch_breaks_no_other() -> None:
    spoilt = an_image(3)

    def fail(batch: Sequence[HandImage]) -> None:
        if any(image is spoilt for image in batch):
            raise SpoiltError

    images = [an_image(0), an_image(1), an_image(2), spoilt, an_image(4)]
    networks = Networks(fail)

    said = read_together(networks, images)

    assert isinstance(said[3].exception(), SpoiltError)
    whole = [one for one in said if one is not said[3]]
    assert [one.result()[0].estimates[0].age_months for one in whole] == [
        networks.months(image) for image in images if image is not spoilt
    ]
    assert networks.asked == [1, 4, 1, 1, 1, 1]


def test_images_that_have_no_room_together_are_asked_alone() -> None:
    def fail(batch: Sequence[HandImage]) -> None:
        if len(batch) > 1:
            raise MemoryError

    said = read_together(Networks(fail), [an_image(number) for number in range(3)])

    assert [one.exception() for one in said] == [None] * 3


def test_answers_that_cannot_be_told_apart_reach_nobody() -> None:
    class Forgetful(Networks):
        def ask(self, prepared: Sequence[HandImage]) -> list[Reading]:
            return super().ask(prepared)[1:]

    said = read_together(Forgetful(), [an_image(number) for number in range(3)])

    assert [type(one.exception()) for one in said] == [ValueError] * 3


def test_a_device_in_doubt_is_told_to_all_who_wait_and_asked_no_more() -> None:
    def fail(_batch: Sequence[HandImage]) -> None:
        raise DeviceError(fault="lost")

    networks = Networks(fail)

    said = read_together(networks, [an_image(number) for number in range(4)])

    assert [type(one.exception()) for one in said] == [DeviceError] * 4
    assert networks.asked == [1]


def test_a_device_in_doubt_is_told_to_who_comes_later() -> None:
    def fail(_batch: Sequence[HandImage]) -> None:
        raise DeviceError(fault="lost")

    batches = Batches(Networks(fail))
    with pytest.raises(DeviceError):
        batches.read([an_image(1)])

    with pytest.raises(DeviceError, match="lost"):
        batches.read([an_image(2)])
