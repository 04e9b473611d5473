from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.engines.openvino import (
    OpenVinoGate,
    OpenVinoMember,
    is_installed,
    way_back_precision,
)
from models.engines.tape import UncoveredError, record
from models.gate.network import GateNetwork
from models.networks import AgeNetwork, BoneAgeNetwork, build_network
from models.rescale import differences
from models.saliency import empty_exposure

pytestmark = pytest.mark.skipif(
    not is_installed(), reason="OpenVINO is not there: pip install 'boneage-worker[fast]'"
)
needs_bfloat16 = pytest.mark.skipif(
    is_installed() and way_back_precision() != "bf16", reason="this processor has no bfloat16"
)

SIZE = 64
SAME_MONTHS = 1e-3  # float32, summed in another order
OF_THE_STRONGEST = 0.03  #: the seven bits of bfloat16, rounded at a dozen steps
SAME_ODDS = 1e-4  # of logarithms up to 10, as above
#: what a training makes of a batch norm, and from where to where
NORMS = (
    ("running_mean", -0.5, 0.5),
    ("running_var", 0.5, 2.0),
    ("weight", 0.5, 1.5),
    ("bias", -0.5, 0.5),
)


def lite_network(seed: int = 0) -> BoneAgeNetwork:
    torch.manual_seed(seed)
    network = build_network("efficientnet_lite0", age_mean_months=120.0, age_sd_months=40.0)
    as_trained(network)
    return network.eval().requires_grad_(requires_grad=False)


def gate_network() -> GateNetwork:
    torch.manual_seed(0)
    network = GateNetwork(width=8)
    as_trained(network)
    return network.eval().requires_grad_(requires_grad=False)


def as_trained(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after a training, not the identity
            for name, low, high in NORMS:
                nn.init.uniform_(getattr(module, name), low, high)


def compiled(network: AgeNetwork, *, threads: int = 1, way_back: str = "f32") -> OpenVinoMember:
    return OpenVinoMember(
        network,
        empty=empty_map(network),
        size=SIZE,
        views=2,
        threads=threads,
        way_back=way_back,
    )


def empty_map(network: AgeNetwork) -> Tensor:
    return empty_exposure(network, torch.full((1, 1, SIZE, SIZE), -1.0))


@pytest.fixture(scope="module", params=[1, 2, 3])
def pair(request: pytest.FixtureRequest) -> tuple[BoneAgeNetwork, OpenVinoMember]:
    """Two views: on one thread, on one each, and on three together."""
    network = lite_network()
    return network, compiled(network, threads=request.param)


@pytest.fixture(scope="module")
def rough() -> OpenVinoMember:
    return compiled(lite_network(), way_back="bf16")


@settings(deadline=None, max_examples=6)
@given(
    seed=st.integers(0, 2**31),
    sex=st.sampled_from([0.0, 1.0]),
    air=st.floats(0.0, 1.0),
)
def test_months_and_cells_are_those_of_pytorch(
    pair: tuple[BoneAgeNetwork, OpenVinoMember], seed: int, sex: float, air: float
) -> None:
    network, member = pair
    views = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    views[views < 2 * air - 1] = -1.0  # as much of it is empty as the draw says
    sexes = torch.full((2, 1), sex)
    feature_map = network.features(views)

    said = member(views.numpy(), sex=sex)

    cells = differences(network, feature_map, sexes, empty=empty_map(network))
    assert said.months == pytest.approx(network.head(feature_map, sexes).numpy(), abs=SAME_MONTHS)
    assert said.cells == pytest.approx(cells.numpy(), abs=SAME_MONTHS)


@needs_bfloat16
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**31), sex=st.sampled_from([0.0, 1.0]))
def test_a_less_precise_way_back_leaves_the_months_and_moves_no_cell_far(
    pair: tuple[BoneAgeNetwork, OpenVinoMember], rough: OpenVinoMember, seed: int, sex: float
) -> None:
    views = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1

    exact, said = pair[1](views.numpy(), sex=sex), rough(views.numpy(), sex=sex)

    assert said.months == pytest.approx(exact.months, abs=SAME_MONTHS)
    assert np.abs(said.cells - exact.cells).max() < OF_THE_STRONGEST * np.abs(exact.cells).max()
    assert not np.array_equal(said.cells, exact.cells)  # it is another precision


@pytest.fixture(scope="module", params=[1, 2])
def gates(request: pytest.FixtureRequest) -> tuple[GateNetwork, OpenVinoGate]:
    network = gate_network()
    return network, OpenVinoGate(network, size=SIZE, views=8, threads=request.param)


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**31), level=st.floats(0.0, 1.0))
def test_the_gate_sees_what_it_sees_in_pytorch(
    gates: tuple[GateNetwork, OpenVinoGate], seed: int, level: float
) -> None:
    network, gate = gates
    views = torch.rand(8, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) - 0.5
    views[views < level - 0.5] = -0.5

    plain, seen = network(views), gate(views)

    assert seen.kinds.numpy() == pytest.approx(plain.kinds.numpy(), abs=SAME_ODDS)
    assert seen.turns.numpy() == pytest.approx(plain.turns.numpy(), abs=SAME_ODDS)
    assert seen.inverted.numpy() == pytest.approx(plain.inverted.numpy(), abs=SAME_ODDS)


def test_answers_to_several_who_ask_at_once_are_not_mixed_up(
    pair: tuple[BoneAgeNetwork, OpenVinoMember],
) -> None:
    _, member = pair
    images = [torch.rand(2, 1, SIZE, SIZE).numpy() for _ in range(4)]
    alone = [member(one, sex=1.0) for one in images]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: member(one, sex=1.0), images * 4))

    for index, said in enumerate(together):
        assert np.array_equal(said.months, alone[index % 4].months)
        assert np.array_equal(said.cells, alone[index % 4].cells)


class Odd(AgeNetwork):
    """A head of one kind of step that the tape does not know."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step

    def features(self, image: Tensor) -> Tensor:
        return image

    def head(self, feature_map: Tensor, sex: Tensor) -> Tensor:
        return self.step(feature_map).mean(dim=(2, 3)).squeeze(1) + sex.squeeze(1)


@pytest.mark.parametrize("step", [torch.sigmoid, torch.square, lambda x: x * x, lambda x: x[:, :1]])
def test_a_network_of_other_steps_is_not_covered(step: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UncoveredError):
        compiled(Odd(step))


def test_a_tape_knows_what_depends_on_the_sex() -> None:
    network = lite_network()

    head = record(network.head, empty_map(network), torch.zeros(1, 1))

    of_sex = head.depending_on(head.inputs[1])
    assert head.output in of_sex
    assert len(of_sex) < len(head.steps) / 2  # no convolution does
