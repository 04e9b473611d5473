"""The gate is trained on pictures of drawn hands: where wrists are, bounds, going on from one."""

import csv
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from models.gate.network import KINDS, Kind
from models.training.cohort import Cohort
from models.training.gate.bounds import MOST_REFUSED, shifts_of
from models.training.gate.made_up import Picture
from models.training.gate.train import RECORD_FILE, WEIGHTS_FILE, GateRecipe, train_gate
from models.training.gate.wrist import fit_wrist_finder
from tests.models.builders import drawn_hand
from tests.models.training.cohorts import LIGHTNING_WARNINGS, write_cohort

TINY = GateRecipe(width=4, size=32, early_size=32, examples=64, held_out=20, passes=1, workers=1)


def lowered(share: float) -> Picture:
    """A hand whose palm ends at a share of the height."""
    hand = drawn_hand(192, 160) / 200
    return np.asarray(np.roll(hand, round(192 * (share - 0.9)), axis=0), dtype=np.float32)


def test_the_wrist_of_a_new_hand_is_found_where_those_of_others_are() -> None:
    shares = np.linspace(0.6, 0.9, 40)
    finder = fit_wrist_finder([lowered(one) for one in shares], list(shares))

    for share in (0.65, 0.72, 0.83):
        assert finder.find(lowered(share)) == pytest.approx(share, abs=0.02)


def test_each_reason_refuses_no_more_hands_than_it_may() -> None:
    odds = np.random.default_rng(1).normal(-6, 2, size=(20_000, len(KINDS)))
    odds[:, KINDS.index(Kind.HAND)] = 0.0

    shifted = odds + shifts_of(odds)

    for kind, share in MOST_REFUSED.items():
        refused = np.mean(shifted[:, KINDS.index(kind)] > 0)
        assert refused == pytest.approx(share, abs=2 / 20_000)
    assert np.all(shifted[:, KINDS.index(Kind.HAND)] == 0)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    cohort = write_cohort(tmp_path / "data")
    with (
        (cohort.data / "not_hand.csv").open("w", newline="", encoding="utf-8") as file,
        zipfile.ZipFile(cohort.data / "not_hand.zip", "w") as archive,
    ):
        rows = csv.writer(file)
        rows.writerow(["image_ID", "body_part", "source", "terms"])
        for index in range(8):
            noise = np.random.default_rng(index).integers(0, 255, (60, 60), dtype=np.uint8)
            archive.writestr(f"not_hand/{index}.png", cv2.imencode(".png", noise)[1].tobytes())
            rows.writerow([f"{index}.png", "noise", "drawn", "MIT"])
    return cohort


@pytest.mark.filterwarnings(*LIGHTNING_WARNINGS)
def test_a_gate_goes_on_from_an_earlier_one_and_counts_its_examples(
    cohort: Cohort, tmp_path: Path
) -> None:
    first = train_gate(cohort=cohort, runs=tmp_path / "a", recipe=TINY, progress=False)
    before = load_file(first / WEIGHTS_FILE)
    later = replace(TINY, start=first, seed=2)

    second = train_gate(cohort=cohort, runs=tmp_path / "b", recipe=later, progress=False)

    after = load_file(second / WEIGHTS_FILE)
    told = [json.loads((one / RECORD_FILE).read_text()) for one in (first, second)]
    assert [one["examples"] for one in told] == [64, 128]
    assert all(0 <= one["least_hand"] <= 1 for one in told)
    moved = [(after[name] - before[name]).abs().max() for name in before if "weight" in name]
    assert 0 < max(moved) < 1e-3  # one short step; a new start would lie a hundred times as far
