"""The networks that ship give an image the same answer alone and in any batch, in each engine."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.engines.choice import choose_engine
from models.engines.openvino import is_installed
from models.ensemble import Ensemble, load_estimator
from models.phantom import draw_phantom
from models.release.manifest import newest_release
from schemas.config import Engine
from schemas.estimates import HandImage, Mending, Reading
from schemas.images import Sex
from tests.orthanc import wait_for
from worker.inference.batches import Batches

#: float32 sums in another order: 0.000008 months were measured for PyTorch on a CPU, none at all
#: for OpenVINO, which reads one image after the other
SAME_MONTHS = 1e-3
OPENVINO = pytest.param(
    Engine.OPENVINO,
    marks=pytest.mark.skipif(not is_installed(), reason="the extra fast is not installed"),
)


@pytest.fixture(scope="module")
def shipped() -> Ensemble:
    return load_estimator(newest_release())


def _drawn(age_months: float, *, rows: int, columns: int) -> NDArray[np.float32]:
    drawn = draw_phantom(age_months=age_months, sex=Sex.FEMALE).astype(np.float32)
    return cv2.resize(drawn, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)


def images() -> list[HandImage]:
    """The phantom as it is, and hands of several sizes, ages, sides, ways up and sexes."""
    phantom = draw_phantom(age_months=120, sex=Sex.FEMALE).astype(np.float32)
    girl, boy, either = (Sex.FEMALE,), (Sex.MALE,), (Sex.FEMALE, Sex.MALE)
    toddler = _drawn(30, rows=400, columns=300)
    return [
        HandImage(pixels=phantom, sexes=girl),
        HandImage(pixels=toddler, sexes=either),
        HandImage(pixels=np.ascontiguousarray(toddler[:, ::-1]), sexes=boy),
        HandImage(pixels=_drawn(84, rows=1200, columns=800), sexes=girl),
        HandImage(
            pixels=np.ascontiguousarray(np.rot90(_drawn(150, rows=700, columns=560))),
            sexes=boy,
            mending=Mending(turns=1),
        ),
        HandImage(pixels=_drawn(204, rows=299, columns=299), sexes=either),
    ]


def apart(one: Reading, other: Reading) -> float:
    """Return the greatest difference of any member, sex and field of the heatmap, months."""
    return float(np.abs(_numbers(one) - _numbers(other)).max())


def _numbers(reading: Reading) -> NDArray[np.float64]:
    said = [member.age_months for each in reading.estimates for member in each.members]
    return np.array([*said, *reading.heatmap.months.ravel()], dtype=np.float64)


def in_one_batch(ensemble: Ensemble, given: Sequence[HandImage]) -> list[Reading]:
    """Ask as readers in threads do, all of them while the networks are busy."""
    batches = Batches(ensemble)
    is_free = ThreadPoolExecutor(1)
    with ThreadPoolExecutor(len(given) + 1) as readers:
        gate = is_free.submit(wait_for, lambda: len(batches._waiting) == len(given))  # noqa: SLF001 - nothing else tells
        batches._device.submit(gate.result)  # noqa: SLF001 - keeps the networks busy
        asked = [readers.submit(batches.read, [image]) for image in given]
        said = [one.result()[0] for one in asked]
    is_free.shutdown()
    return said


@pytest.mark.parametrize("engine", [Engine.TORCH, OPENVINO])
def test_an_image_gets_the_same_answer_alone_and_in_a_batch(
    shipped: Ensemble, engine: Engine
) -> None:
    ensemble, _ = choose_engine(shipped, engine, threads=2)
    given = images()
    alone = [ensemble.read([image])[0] for image in given]

    together = in_one_batch(ensemble, given)

    differences = [apart(*pair) for pair in zip(alone, together, strict=True)]
    assert max(differences) < SAME_MONTHS
    months = [reading.estimates[0].age_months for reading in alone]
    assert min(abs(a - b) for i, a in enumerate(months) for b in months[:i]) > SAME_MONTHS
