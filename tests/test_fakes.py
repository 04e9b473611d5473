import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, DigitalXRayImageStorageForPresentation
from pynetdicom import AE
from pynetdicom.association import Association

from schemas.estimates import Estimator, HandImage
from schemas.images import Sex
from tests.builders import another_instance, hand_radiograph
from tests.fakes import Clock, Drop, FakePacs, StubEstimator
from tests.orthanc import Orthanc

PIXELS = np.linspace(0, 1, 48, dtype=np.float32).reshape(8, 6)


@contextmanager
def association_with(port: int, ae_title: str) -> Iterator[Association]:
    entity = AE("MODALITY")
    for sop_class in (DigitalXRayImageStorageForPresentation, ComprehensiveSRStorage):
        entity.add_requested_context(sop_class)
    association = entity.associate("127.0.0.1", port, ae_title=ae_title)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def send(image: Dataset, *, to: FakePacs | Orthanc) -> int | None:
    with association_with(to.port, to.ae_title) as association:
        answer: int | None = association.send_c_store(image).get("Status")
        return answer


# the same cases for the fake and for the real PACS


@pytest.fixture(params=["fake", "orthanc"], scope="module")
def pacs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FakePacs | Orthanc]:
    made = FakePacs() if request.param == "fake" else Orthanc(tmp_path_factory.mktemp("orthanc"))
    with made as running:
        yield running


def held_by(pacs: FakePacs | Orthanc, image: Dataset) -> list[str]:
    if isinstance(pacs, FakePacs):
        return [
            uid
            for uid in pacs.stored
            if pacs.stored[uid].StudyInstanceUID == image.StudyInstanceUID
        ]
    return [each.sop_instance_uid for each in pacs.instances(image.StudyInstanceUID)]


def test_an_image_that_was_stored_is_held(pacs: FakePacs | Orthanc) -> None:
    image = hand_radiograph()

    assert send(image, to=pacs) == 0x0000
    assert held_by(pacs, image) == [image.SOPInstanceUID]


def test_an_image_that_comes_twice_is_held_once(pacs: FakePacs | Orthanc) -> None:
    image = hand_radiograph()

    assert [send(image, to=pacs), send(image, to=pacs)] == [0x0000, 0x0000]
    assert held_by(pacs, image) == [image.SOPInstanceUID]


def test_a_wrong_called_ae_title_is_rejected(pacs: FakePacs | Orthanc) -> None:
    with association_with(pacs.port, "NOBODY") as association:
        assert association.is_rejected


def test_a_stopped_pacs_is_unreachable_until_it_is_started_again(pacs: FakePacs | Orthanc) -> None:
    stop, start = (
        (pacs.go_down, pacs.come_up) if isinstance(pacs, FakePacs) else (pacs.stop, pacs.start)
    )
    image = hand_radiograph()
    send(image, to=pacs)
    stop()
    with socket.socket() as knock:
        assert knock.connect_ex(("127.0.0.1", pacs.port)) == errno.ECONNREFUSED

    start()

    assert held_by(pacs, image) == [image.SOPInstanceUID]
    assert send(another_instance(image), to=pacs) == 0x0000


# what only the fake can be told


def test_the_fake_pacs_answers_as_it_was_told() -> None:
    image = hand_radiograph()
    with FakePacs() as pacs:
        pacs.answer(0xA700, 0xC001)

        assert [send(image, to=pacs) for _ in range(3)] == [0xA700, 0xC001, 0x0000]
        assert [request.status for request in pacs.requests] == [0xA700, 0xC001, 0x0000]
        assert list(pacs.stored) == [image.SOPInstanceUID]


def test_the_fake_pacs_answers_one_class_differently() -> None:
    with FakePacs() as pacs:
        pacs.always_answer(0xA900, sop_class_uid=ComprehensiveSRStorage)

        assert send(hand_radiograph(), to=pacs) == 0x0000
        assert send(hand_radiograph(SOPClassUID=ComprehensiveSRStorage), to=pacs) == 0xA900


def test_the_fake_pacs_rejects_the_contexts_of_a_refused_class() -> None:
    with FakePacs(refused_classes=[ComprehensiveSRStorage]) as pacs:
        with association_with(pacs.port, pacs.ae_title) as association:
            rejected = [each.abstract_syntax for each in association.rejected_contexts]
            assert rejected == [ComprehensiveSRStorage]

        pacs.refuse()

        with association_with(pacs.port, pacs.ae_title) as association:
            assert association.rejected_contexts == []


def test_the_fake_pacs_rejects_a_calling_ae_that_it_does_not_know() -> None:
    with FakePacs() as pacs:
        pacs.know_only("SOMEBODY")

        with association_with(pacs.port, pacs.ae_title) as association:
            assert association.is_rejected


@pytest.mark.parametrize(
    ("drop", "is_stored"), [(Drop.DURING_TRANSFER, False), (Drop.BEFORE_ANSWER, True)]
)
def test_the_fake_pacs_cuts_a_transfer(drop: Drop, is_stored: bool) -> None:  # noqa: FBT001 - a parameter
    image = hand_radiograph()
    with FakePacs() as pacs:
        pacs.drop(drop)

        assert send(image, to=pacs) is None
        assert (image.SOPInstanceUID in pacs.stored) is is_stored
        assert send(image, to=pacs) == 0x0000


def test_the_fake_pacs_can_answer_that_it_has_an_instance_already() -> None:
    image = hand_radiograph()
    with FakePacs() as pacs:
        pacs.duplicate_status = 0x0111

        assert [send(image, to=pacs), send(image, to=pacs)] == [0x0000, 0x0111]


def test_waiting_for_what_never_comes_ends_at_the_limit() -> None:
    with FakePacs() as pacs, pytest.raises(TimeoutError):
        pacs.wait_for(lambda each: bool(each.requests), limit_seconds=0.01)


def test_a_clock_moves_only_when_it_is_told() -> None:
    clock = Clock()
    before = clock()

    assert clock() == before
    assert before.tzinfo is UTC
    assert (clock.forward(minutes=3, seconds=1) - before).total_seconds() == 181


def test_a_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="forward"):
        Clock().forward(seconds=-1)


def test_the_stub_estimator_is_an_estimator() -> None:
    estimator: Estimator = StubEstimator()

    reading, again = estimator.read([HandImage(pixels=PIXELS, sexes=(Sex.MALE, Sex.FEMALE))] * 2)

    assert estimator.check(PIXELS).refusal is None
    assert [each.age_months for each in reading.estimates] == [120.0, 114.0]
    assert reading.estimates == again.estimates
    heat = float(reading.heatmap.months.sum()) + reading.heatmap.intercept_months
    assert heat == pytest.approx(120.0, abs=0.01)


def test_the_stub_estimator_tells_pixels_apart_when_asked_to() -> None:
    estimator = StubEstimator(age_months=None)
    images = [HandImage(pixels=PIXELS * factor, sexes=(Sex.MALE,)) for factor in (1, 2)]

    one, other = estimator.read(images)

    assert one.estimates[0].age_months == estimator.months(PIXELS, Sex.MALE)
    assert one.estimates[0].age_months != other.estimates[0].age_months


def test_the_stub_estimator_fails_as_it_was_told() -> None:
    calls: list[str] = []
    estimator = StubEstimator(error=OSError("gone"), before_read=lambda: calls.append("read"))

    with pytest.raises(OSError, match="gone"):
        estimator.read([])
    assert calls == ["read"]
