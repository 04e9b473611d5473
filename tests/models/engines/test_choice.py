from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from models.engines import choice
from models.engines.choice import (
    EngineChoice,
    EngineUnavailableError,
    choose_engine,
)
from models.engines.openvino import Explained, OpenVinoGate, OpenVinoMember, is_installed
from models.engines.tape import Values
from models.ensemble import Ensemble, load_estimator
from models.gate.network import Sighting
from models.release.manifest import list_releases
from schemas.config import Engine
from schemas.estimates import HandImage
from schemas.images import Sex
from tests.models.builders import drawn_hand, written_release

needs_openvino = pytest.mark.skipif(
    not is_installed(), reason="OpenVINO is not there: pip install 'boneage-worker[fast]'"
)
SAME_MONTHS = 0.01  # a fifth of what is allowed
OF_ALL = 0.03  # the way back may be in bfloat16: what its fields miss together


@pytest.fixture(scope="module")
def shipped() -> Ensemble:
    return load_estimator(list_releases()[-1])


@pytest.fixture(scope="module")
def chosen(shipped: Ensemble) -> tuple[Ensemble, EngineChoice]:
    return choose_engine(shipped, Engine.AUTO, threads=1)


@pytest.fixture(scope="module")
def fast(chosen: tuple[Ensemble, EngineChoice]) -> Ensemble:
    return chosen[0]


@needs_openvino
def test_the_shipped_release_runs_on_the_fast_engine(
    chosen: tuple[Ensemble, EngineChoice],
) -> None:
    assert chosen[1].engine is Engine.OPENVINO


@needs_openvino
def test_the_fast_engine_reads_both_sexes_and_every_member_alike(
    shipped: Ensemble, fast: Ensemble
) -> None:
    hand = HandImage(pixels=drawn_hand(500, 400), sexes=(Sex.MALE, Sex.FEMALE))

    (plain,), (other,) = shipped.read([hand]), fast.read([hand])

    for mine, theirs in zip(plain.estimates, other.estimates, strict=True):
        assert [one.age_months for one in theirs.members] == pytest.approx(
            [one.age_months for one in mine.members], abs=SAME_MONTHS
        )
    assert other.heatmap.months == pytest.approx(plain.heatmap.months, abs=SAME_MONTHS)
    in_all = float(np.abs(plain.heatmap.months).sum())
    assert other.heatmap.intercept_months == pytest.approx(
        plain.heatmap.intercept_months, abs=OF_ALL * in_all
    )
    assert np.corrcoef(plain.heatmap.months.ravel(), other.heatmap.months.ravel())[0, 1] > 0.9999


@needs_openvino
def test_the_fast_engine_reads_several_images_in_their_order(fast: Ensemble) -> None:
    first = HandImage(pixels=drawn_hand(500, 400), sexes=(Sex.MALE,))
    second = HandImage(pixels=drawn_hand(300, 260), sexes=(Sex.FEMALE,))

    together = fast.read([first, second])

    for reading, image in zip(together, (first, second), strict=True):
        (alone,) = fast.read([image])
        assert reading.estimates == alone.estimates


@needs_openvino
def test_the_heatmap_of_the_fast_engine_adds_up_to_the_estimate(fast: Ensemble) -> None:
    (reading,) = fast.read([HandImage(pixels=drawn_hand(500, 400), sexes=(Sex.FEMALE,))])

    total = reading.heatmap.months.sum(dtype=np.float64) + reading.heatmap.intercept_months
    assert total == pytest.approx(reading.estimates[0].age_months, abs=0.01)


@needs_openvino
@pytest.mark.parametrize(
    ("older_by", "field", "said_so"), [(0.2, 0.0, "0.20"), (0.0, np.nan, "nan")]
)
def test_an_engine_with_another_answer_or_none_is_not_used(
    shipped: Ensemble,
    monkeypatch: pytest.MonkeyPatch,
    older_by: float,
    field: float,
    said_so: str,
) -> None:
    honest = OpenVinoMember.__call__

    def older(self: OpenVinoMember, views: Values, *, sex: float) -> Explained:
        said = honest(self, views, sex=sex)
        return Explained(months=said.months + older_by, cells=said.cells + field)

    monkeypatch.setattr(OpenVinoMember, "__call__", older)

    estimator, taken = choose_engine(shipped, Engine.AUTO, threads=1)

    assert (estimator, taken.engine) == (shipped, Engine.TORCH)
    assert f"{said_so} months from PyTorch" in taken.reason


@needs_openvino
@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [(500, 400), (300, 260)])
def test_the_gate_of_the_fast_engine_gives_the_same_verdict(
    shipped: Ensemble, fast: Ensemble, turns: int, sign: int, size: tuple[int, int]
) -> None:
    pixels = np.ascontiguousarray(np.rot90(sign * drawn_hand(*size), turns))

    assert fast.check(pixels) == shipped.check(pixels)


@needs_openvino
def test_an_engine_whose_gate_sees_something_else_is_not_used(
    shipped: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = OpenVinoGate.__call__

    def other(self: OpenVinoGate, views: Tensor) -> Sighting:
        seen = honest(self, views)
        return Sighting(kinds=seen.kinds.flip(1), turns=seen.turns, inverted=seen.inverted)

    monkeypatch.setattr(OpenVinoGate, "__call__", other)

    estimator, taken = choose_engine(shipped, Engine.AUTO, threads=1)

    assert (estimator, taken.engine) == (shipped, Engine.TORCH)
    assert "its gate sees something else" in taken.reason


def test_without_the_library_pytorch_reads(
    shipped: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "is_installed", lambda: False)

    estimator, taken = choose_engine(shipped, Engine.AUTO, threads=1)

    assert (estimator, taken.engine) == (shipped, Engine.TORCH)
    assert "not installed" in taken.reason


def test_an_engine_that_was_asked_for_by_name_is_never_replaced(
    shipped: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "is_installed", lambda: False)

    with pytest.raises(EngineUnavailableError, match="not installed"):
        choose_engine(shipped, Engine.OPENVINO, threads=1)


@needs_openvino
def test_networks_that_are_not_covered_stay_with_pytorch(tmp_path: Path) -> None:
    untrained = load_estimator(written_release(tmp_path / "release"))  # average pooling in the head

    estimator, taken = choose_engine(untrained, Engine.AUTO, threads=1)

    assert (estimator, taken.engine) == (untrained, Engine.TORCH)
    assert "does not cover" in taken.reason


def test_who_asks_for_pytorch_gets_it(shipped: Ensemble) -> None:
    assert choose_engine(shipped, Engine.TORCH, threads=1)[0] is shipped
