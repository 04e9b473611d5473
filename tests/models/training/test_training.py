"""A small network learns drawn hands, from annotation table to finished release."""

import csv
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file

from models.ensemble import load_estimator
from models.release.manifest import verify_release
from models.training.annotations import NoTrainingDataError
from models.training.build import RunMismatchError, build_release
from models.training.cohort import Cohort
from models.training.split import hash_patient
from models.training.train import RunFolder, train
from tests.models.builders import drawn_hand

PARTS = ("train", "train", "calibrate", "test", "validate")
QUICK = ("threads=1", "batch_size=8", "precision=32-true")
CHILDREN = 100

pytestmark = [
    # Lightning asks for more worker processes and finds deprecated names in torch's own tree
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*litlogger.*"),
]


def write_cohort(folder: Path) -> Cohort:
    """Children whose hands are the brighter the older they are."""
    folder.mkdir()
    rows, parts = [], []
    with zipfile.ZipFile(folder / "rsna_299.zip", "w") as archive:
        for child in range(CHILDREN):
            age = 20 + 2 * child
            hand = np.clip(drawn_hand(80, 70) * (0.4 + age / 250), 0, 255).astype(np.uint8)
            archive.writestr(f"rsna_299/{child}.png", cv2.imencode(".png", hand)[1].tobytes())
            sex = "FM"[child // 2 % 2]
            rows.append([f"{child}.png", "rsna_299", f"child{child}", sex, str(age)])
            parts.append([hash_patient(f"child{child}"), PARTS[child % len(PARTS)]])
    header = ["image_ID", "dir", "patient_ID", "sex", "bone_age"]
    for name, lines in (
        ("annotation.csv", [header, *rows]),
        ("split.csv", [["patient", "part"], *parts]),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    return Cohort(data=folder, split=folder / "split.csv")


def write_recipe(folder: Path) -> Path:
    path = folder / "tiny.toml"
    path.write_text(
        'architecture = "resnet10t"\npretrained = false\n'
        "stages = [{ passes = 1, size = 64 }, { passes = 1, size = 96 }]\n",
        encoding="utf-8",
    )
    return path


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


def test_a_release_built_from_runs_is_complete_and_measured(
    run: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    manifest = build_release("tiny", [run.path], cohort=cohort, releases=tmp_path)

    verify_release("tiny", releases=tmp_path)
    estimator = load_estimator(tmp_path / "tiny")
    card = (tmp_path / "tiny" / "card.md").read_text(encoding="utf-8")
    (row,) = [row for row in manifest.metrics if row.group == "all"]
    assert row.n == 20
    assert f"| all | 20 | {row.mae_months:.2f} (" in card
    assert {group.sex for group in manifest.calibration.groups} == {"F", "M"}
    assert estimator.release.digest
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_runs_with_another_split_make_no_release(
    run: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    other = tmp_path / "split.csv"
    other.write_text(cohort.split.read_text(encoding="utf-8") + "f00,test\n", encoding="utf-8")

    with pytest.raises(RunMismatchError, match="split"):
        build_release(
            "tiny", [run.path], cohort=Cohort(data=cohort.data, split=other), releases=tmp_path
        )


def test_a_folder_without_a_run_makes_no_release(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(RunMismatchError, match="no weights"):
        build_release("tiny", [tmp_path], cohort=cohort, releases=tmp_path)


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoTrainingDataError, match=r"annotation\.csv"):
        train(
            write_recipe(tmp_path),
            QUICK,
            cohort=Cohort(data=tmp_path / "nowhere"),
            runs=tmp_path,
            progress=False,
        )
