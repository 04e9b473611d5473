"""A small network learns drawn hands, from annotation table to run folder."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from models.training.annotations import NoTrainingDataError
from models.training.cohort import Cohort
from models.training.run_folder import RunFolder
from models.training.train import train
from tests.models.training.cohorts import LIGHTNING_WARNINGS, QUICK, write_cohort, write_recipe

pytestmark = [pytest.mark.filterwarnings(one) for one in LIGHTNING_WARNINGS]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def run(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("runs")
    return train(write_recipe(folder), QUICK, cohort=cohort, runs=folder, progress=False)


def test_a_run_leaves_weights_record_and_one_line_for_each_pass(run: RunFolder) -> None:
    record = json.loads(run.record.read_text(encoding="utf-8"))
    lines = (run.path / "passes.csv").read_text(encoding="utf-8").splitlines()

    assert load_file(run.weights)
    assert record["passes_done"] == 2
    assert record["input_size"] == 96
    assert record["training_children"] == 40
    assert [line.split(",")[1] for line in lines[1:]] == ["64", "96"]


def test_a_finished_run_is_not_trained_again(run: RunFolder, cohort: Cohort) -> None:
    before = run.weights.read_bytes()

    again = train(
        run.path.parent / "tiny.toml", QUICK, cohort=cohort, runs=run.path.parent, progress=False
    )

    assert again.weights.read_bytes() == before


def test_a_member_can_start_from_a_released_one(
    run: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    overrides = (*QUICK, f"warm_start={run.weights}", "learning_rate=1e-12", "name=warm")

    warm = train(
        run.path.parent / "tiny.toml", overrides, cohort=cohort, runs=tmp_path, progress=False
    )

    started, ended = load_file(run.weights), load_file(warm.weights)
    name = "regressor.1.weight"
    assert float((started[name] - ended[name]).abs().max()) < 1e-6


def test_a_recipe_that_comes_after_another_trains_both(cohort: Cohort, tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(
        'architecture = "resnet10t"\npretrained = false\nstages = [{ passes = 1, size = 32 }]\n'
        'batch_size = 8\nthreads = 1\nprecision = "32-true"\nimages = { children = 16 }\n',
        encoding="utf-8",
    )
    second.write_text('base = "./first.toml"\nafter = "first.toml"\n', encoding="utf-8")
    runs = tmp_path / "runs"

    both = train(second, [f"after={first}"], cohort=cohort, runs=runs, progress=False)

    before = RunFolder(path=runs / "first")
    assert before.is_finished
    assert both.is_finished
    assert both.start is not None
    assert both.start.read_bytes() == before.weights.read_bytes()
    assert both.weights.read_bytes() != before.weights.read_bytes()


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoTrainingDataError, match=r"annotation\.csv"):
        train(
            write_recipe(tmp_path),
            QUICK,
            cohort=Cohort(data=tmp_path / "nowhere"),
            runs=tmp_path,
            progress=False,
        )
