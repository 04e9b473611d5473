"""A gate that was trained: one verdict for all turns, mending, reasons."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.ensemble import load_estimator
from models.gate.mending import mended, turned_back
from models.gate.network import GateNetwork, Kind
from models.gate.trained import TrainedGate, look
from models.gate.view import gate_view
from models.release.manifest import digest_of_file
from models.transforms import DEFAULT_RULE
from schemas.estimates import HandImage, Mending, QualityFlag
from schemas.images import Sex
from schemas.refusals import RefusalReason
from schemas.releases import Gate
from tests.models.builders import drawn_hand, judged, written_release

KINDS = list(Kind)


def gate_that_sees(kind: Kind, *, turn_bias: float = 0.0, least: float = 0.5) -> TrainedGate:
    """A gate that says the same of every picture, and finds its upright by random weights."""
    torch.manual_seed(4)
    network = GateNetwork(width=4).eval()
    with torch.no_grad():
        network.head.bias[: len(KINDS)] = -20.0
        network.head.bias[KINDS.index(kind)] = 20.0
        network.head.weight[: len(KINDS)] = 0.0
        network.head.weight[len(KINDS) :] *= 20
        network.head.bias[len(KINDS)] += turn_bias
    entry = Gate(file="g", width=4, input_size=64, least_hand=least, training_data="none")
    return TrainedGate(entry, network)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Kind.BOTH_HANDS, RefusalReason.BOTH_HANDS),
        (Kind.CUT_OFF, RefusalReason.CUT_OFF),
        (Kind.COVERED, RefusalReason.COVERED),
        (Kind.NOT_A_HAND, RefusalReason.NOT_A_HAND),
    ],
)
def test_what_the_gate_sees_is_the_reason_of_the_refusal(kind: Kind, reason: RefusalReason) -> None:
    verdict = judged(drawn_hand(500, 400), gate=gate_that_sees(kind))

    assert verdict.refusal is reason
    assert verdict.keyword == "probability of one whole hand"
    assert verdict.flags == ()


def test_a_turned_copy_is_seen_as_the_same_picture_and_turned_back() -> None:
    network = gate_that_sees(Kind.HAND).network
    view = gate_view(drawn_hand(64, 64), size=64, rule=DEFAULT_RULE)

    first = look(network, view)
    for turn in range(1, 4):
        again = look(network, np.ascontiguousarray(np.rot90(view, turn)))
        assert again.mending.turns == (first.mending.turns + turn) % 4
        assert again.mending.is_inverted is first.mending.is_inverted
        assert again.kinds[Kind.HAND] == pytest.approx(first.kinds[Kind.HAND], abs=1e-4)


def test_a_gate_whose_answer_is_no_number_lets_nothing_pass() -> None:
    gate = gate_that_sees(Kind.HAND)
    with torch.no_grad():
        gate.network.head.bias.fill_(torch.nan)

    with pytest.warns(RuntimeWarning, match="invalid value"):
        verdict = judged(drawn_hand(500, 400), gate=gate)

    assert verdict.refusal is not None


def test_a_negative_is_seen_as_the_same_picture_and_inverted_back() -> None:
    network = gate_that_sees(Kind.HAND).network
    hand = drawn_hand(64, 64)

    first = look(network, gate_view(hand, size=64, rule=DEFAULT_RULE))
    negative = look(network, gate_view(-hand, size=64, rule=DEFAULT_RULE))

    assert negative.mending.turns == first.mending.turns
    assert negative.mending.is_inverted is not first.mending.is_inverted


def test_mending_undoes_turn_and_inversion() -> None:
    hand = drawn_hand(50, 40)
    turned = np.ascontiguousarray(np.rot90(hand.min() + hand.max() - hand, 3))

    np.testing.assert_allclose(mended(turned, Mending(turns=3, is_inverted=True)), hand, atol=1e-4)


def test_a_map_over_the_mended_image_is_mapped_back() -> None:
    fields = np.arange(16, dtype=np.float32).reshape(4, 4)
    mending = Mending(turns=1)

    np.testing.assert_array_equal(mended(turned_back(fields, mending), mending), fields)


def test_the_view_is_the_exposed_area_alone() -> None:
    hand = drawn_hand(200, 160)
    padded = np.pad(hand, 60, constant_values=hand.min()).astype(np.float32)

    np.testing.assert_allclose(
        gate_view(padded, size=64, rule=DEFAULT_RULE),
        gate_view(hand, size=64, rule=DEFAULT_RULE),
        atol=1e-5,
    )


@pytest.fixture(scope="module")
def release_with_gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    gate = gate_that_sees(Kind.HAND)
    weights = {name: value.contiguous() for name, value in gate.network.state_dict().items()}
    save_file(weights, folder / "g")
    return written_release(folder, gate=gate.entry, files={"g": digest_of_file(folder / "g")})


def test_a_turned_image_gets_the_months_of_the_upright_one_and_a_flag(
    release_with_gate: Path,
) -> None:
    ensemble = load_estimator(release_with_gate)
    hand = drawn_hand(400, 300)
    readings, turns = [], []
    for quarters in range(4):
        pixels = np.ascontiguousarray(np.rot90(hand, quarters))
        verdict = ensemble.check(pixels)
        image = HandImage(pixels=pixels, sexes=(Sex.FEMALE,), mending=verdict.mending)
        readings.append(ensemble.read([image])[0])
        turns.append(verdict.mending.turns)
        is_turned = verdict.mending.turns > 0
        assert (QualityFlag.ORIENTATION_MENDED in verdict.flags) is is_turned

    ages = [one.estimates[0].age_months for one in readings]
    assert ages == pytest.approx([ages[0]] * 4, abs=0.01)
    assert sorted(turns) == [0, 1, 2, 3]


def test_an_image_that_has_to_be_mended_is_prepared_anew(release_with_gate: Path) -> None:
    ensemble = load_estimator(release_with_gate)
    hand = drawn_hand(500, 400)
    verdicts = [ensemble.check(np.ascontiguousarray(np.rot90(hand, turn))) for turn in range(4)]

    assert {verdict.mending.turns for verdict in verdicts} == {0, 1, 2, 3}
    for verdict in verdicts:
        assert (verdict.begun is None) is (verdict.mending != Mending())


def test_the_heatmap_of_a_turned_image_lies_over_the_image_as_it_came(
    release_with_gate: Path,
) -> None:
    ensemble = load_estimator(release_with_gate)
    hand = drawn_hand(400, 300)
    upright = HandImage(pixels=hand, sexes=(Sex.FEMALE,))
    turned = HandImage(
        pixels=np.ascontiguousarray(np.rot90(hand, 1)),
        sexes=(Sex.FEMALE,),
        mending=Mending(turns=1),
    )

    first, second = ensemble.read([upright, turned])

    np.testing.assert_allclose(np.rot90(first.heatmap.months, 1), second.heatmap.months, atol=1e-4)
    rows, columns = turned.pixels.shape
    assert all(0 <= column <= columns and 0 <= row <= rows for column, row in second.outline)
