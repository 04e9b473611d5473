"""`boneage release build`: runs become a whole release, or a sentence that says why they cannot."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.ensemble import load_estimator
from models.release.manifest import read_manifest, verify_release
from models.training.build import NewRelease, draft_release
from models.training.cohort import Cohort
from models.training.run_folder import RunFolder
from models.training.train import train
from tests.models.release.foreign_checkpoints import mask_network
from tests.models.training.cohorts import (
    CHILDREN,
    LIGHTNING_WARNINGS,
    QUICK,
    write_cohort,
    write_recipe,
)
from worker.cli.application import main

pytestmark = [pytest.mark.filterwarnings(one) for one in LIGHTNING_WARNINGS]

#: what a recipe asks for → why no release can serve it
UNFIT = {
    '{"images": {"fourier": "parts"}}': "reads spectra",
    '{"images": {"range": "header"}}': "wants the bits stored",
    '{"preprocessing": {"framing": "pad", "scaling": "unit", "use_mask": true}}': "hand alone",
    '{"task": "classes"}': "predicts classes",
    '{"head": {"sex": "only"}, "loss": {"sex_weight": 1}}': "predicts the sex, and no age",
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def run(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("runs")
    return train(write_recipe(folder), QUICK, cohort=cohort, runs=folder, progress=False)


def ended(
    cohort: Cohort, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    places = ["--data", str(cohort.data), "--split-file", str(cohort.split)]
    with pytest.raises(SystemExit) as raised:
        main(["release", "build", *arguments, *places])
    said = capsys.readouterr()
    return int(raised.value.code or 0), said.out, said.err


def test_a_release_built_from_runs_is_complete_and_measured(
    run: RunFolder, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tiny", str(run.path), "--into", str(tmp_path), "--averaging", "none", "--json"]

    code, out, _ = ended(cohort, arguments, capsys)

    assert code == 0
    verify_release("tiny", releases=tmp_path)
    manifest, _ = read_manifest(tmp_path / "tiny")
    card = (tmp_path / "tiny" / "card.md").read_text(encoding="utf-8")
    (row,) = [row for row in json.loads(out)["metrics"] if row["group"] == "all"]
    assert row["n"] == 20
    assert f"| all | 20 | {row['mae_months']:.2f} (" in card
    assert {group.sex for group in manifest.calibration.groups} == {"F", "M"}
    assert load_estimator(tmp_path / "tiny").release.digest
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    (story,) = [one.training for one in manifest.members]
    assert story is not None
    assert [size for size, _ in story.curve] == [64, 96]
    assert f"| tiny | {story.hardware} | {story.hours:.1f} | 64 px: " in card


def test_a_release_of_a_short_run_says_how_many_children_it_saw_and_reads_them_upright(
    cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*QUICK, "images.children=12"]
    run = train(write_recipe(tmp_path), overrides, cohort=cohort, runs=tmp_path, progress=False)
    arguments = ["short", str(run.path), "--into", str(tmp_path), "--averaging", "none"]

    code, _, _ = ended(cohort, [*arguments, "--upright"], capsys)

    assert code == 0
    manifest, _ = read_manifest(tmp_path / "short")
    assert manifest.training_data.startswith("12 children")
    assert manifest.training_data_sha256 == run.read_record()["training_data_sha256"]
    assert manifest.preprocessing.upright
    assert "turned until the hand" in (tmp_path / "short" / "card.md").read_text(encoding="utf-8")


def test_runs_trained_upright_and_not_go_together_where_the_release_turns_hands(
    run: RunFolder, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upright = RunFolder(path=tmp_path / "upright")
    shutil.copytree(run.path, upright.path)
    record = run.read_record()
    record["preprocessing"]["upright"] = True
    upright.record.write_text(json.dumps(record), encoding="utf-8")
    both = [run.path, upright.path]

    code, _, said = ended(cohort, ["pair", *map(str, both), "--into", str(tmp_path)], capsys)
    new = NewRelease(name="pair", upright=True, releases=tmp_path)
    manifest, _ = read_manifest(draft_release(new, both, cohort=cohort))

    assert code == 1
    assert "differ in preprocessing" in said
    assert manifest.preprocessing.upright


def evaluated(
    cohort: Cohort, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    places = ["--data", str(cohort.data), "--split-file", str(cohort.split)]
    with pytest.raises(SystemExit) as raised:
        main(["evaluate", *arguments, *places, "--json"])
    said = capsys.readouterr()
    return int(raised.value.code or 0), said.out, said.err


def test_an_evaluation_of_two_runs_takes_every_answer_from_the_cache_of_their_release(
    run: RunFolder, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*QUICK, "name=second", "seed=5", "stages=[{passes=1, size=64}]"]
    second = train(write_recipe(tmp_path), small, cohort=cohort, runs=tmp_path, progress=False)
    cache, into = tmp_path / "cache", tmp_path / "releases"
    runs = ["pair", str(run.path), str(second.path), "--into", str(into), "--cache", str(cache)]
    built, _, _ = ended(cohort, runs, capsys)
    asked = {path.name: path.read_bytes() for path in cache.iterdir()}

    arguments = [str(into / "pair"), "--robustness", "--cache", str(cache)]
    code, out, _ = evaluated(cohort, arguments, capsys)

    told = json.loads(out)
    manifest, _ = read_manifest(into / "pair")
    assert (built, code) == (0, 0)
    assert asked
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == asked
    assert [row["n"] for row in told["members"]] == [20, 20]
    assert told["groups"][0] == manifest.metrics[0].model_dump()
    assert told["changes"] == [row.model_dump() for row in manifest.changes]
    assert [way["n"] for way in told["ways"][:1]] == [20]


def test_a_release_that_is_there_is_not_replaced_unasked(
    run: RunFolder, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny").mkdir()

    code, _, said = ended(cohort, ["tiny", str(run.path), "--into", str(tmp_path)], capsys)

    assert code == 1
    assert "--replace" in said
    assert not list((tmp_path / "tiny").iterdir())


def test_runs_with_another_split_make_no_release(
    run: RunFolder, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = tmp_path / "split.csv"
    split.write_text(cohort.split.read_text(encoding="utf-8") + "f00,test\n", encoding="utf-8")

    arguments = ["tiny", str(run.path), "--into", str(tmp_path / "releases")]
    code, _, said = ended(replace(cohort, split=split), arguments, capsys)

    assert code == 1
    assert "another split" in said
    assert not (tmp_path / "releases").exists()


def test_a_folder_without_a_run_makes_no_release(
    cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["tiny", str(tmp_path), "--into", str(tmp_path / "releases")]

    code, _, said = ended(cohort, arguments, capsys)

    assert code == 1
    assert f"{tmp_path} has no weights or no record" in said


@pytest.mark.parametrize("file", ["member.safetensors", "run.json"])
def test_a_run_that_is_cut_off_is_named_and_nothing_is_left(
    file: str,
    run: RunFolder,
    cohort: Cohort,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged, into = tmp_path / "run", tmp_path / "releases"
    shutil.copytree(run.path, damaged)
    whole = (damaged / file).read_bytes()
    (damaged / file).write_bytes(whole[: len(whole) // 2])

    code, _, said = ended(cohort, ["damaged", str(damaged), "--into", str(into)], capsys)

    assert code == 1
    assert f"{damaged / file} is cut off or damaged" in said
    assert not into.exists() or not list(into.iterdir())


def test_a_run_of_tiny_pictures_is_refused_in_words(
    run: RunFolder, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "member.safetensors").touch()
    record = run.read_record() | {"input_size": 32}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")

    code, _, said = ended(cohort, ["tiny", str(tmp_path)], capsys)

    assert code == 1
    assert "less than 64 pixels" in said


@pytest.mark.parametrize(("recipe", "why"), UNFIT.items(), ids=list(UNFIT.values()))
def test_a_run_that_cannot_be_served_is_refused_in_words(
    recipe: str,
    why: str,
    run: RunFolder,
    cohort: Cohort,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    unfit, into = tmp_path / "run", tmp_path / "releases"
    unfit.mkdir()
    (unfit / "member.safetensors").touch()
    record = run.read_record()
    for key, value in json.loads(recipe).items():
        before = record["recipe"].get(key)
        record["recipe"][key] = before | value if isinstance(before, dict) else value
    (unfit / "run.json").write_text(json.dumps(record), encoding="utf-8")

    code, _, said = ended(cohort, ["unfit", str(unfit), "--into", str(into)], capsys)

    assert code == 1
    assert why in said
    assert "code release.runs" in said
    assert not into.exists()


@pytest.fixture(scope="module")
def masked(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was trained with the hand alone."""
    folder, masks = tmp_path_factory.mktemp("masked"), cohort.data / "masks"
    masks.mkdir()
    outline = np.pad(np.full((64, 50), 255, np.uint8), ((8, 8), (10, 10)))
    for child in range(CHILDREN):
        cv2.imwrite(str(masks / f"{child}.png"), outline)
    alone = "preprocessing={framing='centre', scaling='z_score', use_mask=true, mask_crop=1.15}"
    small = ("stages=[{passes=1, size=64}]", "images.children=16", "name=masked")
    return train(
        write_recipe(folder),
        (*QUICK, alone, *small),
        cohort=replace(cohort, masks=(masks,)),
        runs=folder,
        progress=False,
    )


@pytest.mark.parametrize(("bias", "found"), [(9.0, 4), (-99.0, 0)], ids=["hands", "no hands"])
def test_a_run_trained_with_masks_is_read_with_a_mask_network(
    bias: float,
    found: int,
    masked: RunFolder,
    cohort: Cohort,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = tmp_path / "fscnn_cos.ckpt"
    torch.save({"state_dict": mask_network(filters=2, hand_bias=bias)}, network)
    question = ["--mask-network", str(network), "--images", "squashed", "--limit", "4"]

    code, out, err = evaluated(cohort, [str(masked.path), *question], capsys)

    assert code == (0 if found else 1)
    assert json.loads(out)["groups"][0]["n"] == found if found else "not_a_hand" in err


def test_a_run_trained_with_masks_becomes_a_release_that_brings_its_mask_network(
    masked: RunFolder, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tmp_path / "fscnn_cos.ckpt"
    torch.save({"state_dict": mask_network(filters=2, hand_bias=9.0)}, network)
    into = tmp_path / "releases"

    arguments = ["masked", str(masked.path), "--mask-network", str(network), "--into", str(into)]
    code, _, _ = ended(cohort, arguments, capsys)
    network.unlink()
    evaluation, out, _ = evaluated(cohort, [str(into / "masked"), "--limit", "4"], capsys)

    manifest, _ = read_manifest(into / "masked")
    assert (code, evaluation) == (0, 0)
    assert manifest.mask is not None
    assert manifest.mask.file in manifest.files
    assert json.loads(out)["groups"][0]["n"] == 4
