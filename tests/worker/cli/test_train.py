"""`boneage train` as a tired person meets it: lists, checks, one message for each thing wrong."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.release.manifest import RELEASES, newest_release
from models.training.cohort import Cohort
from models.training.recipe_file import list_recipes
from tests.models.training.cohorts import LIGHTNING_WARNINGS, QUICK, write_cohort, write_recipe
from worker.cli.application import main

pytestmark = [pytest.mark.filterwarnings(one) for one in LIGHTNING_WARNINGS]
REFUSED, USAGE = 1, 2


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    return str(write_recipe(tmp_path))


def options(cohort: Cohort, runs: Path) -> list[str]:
    return ["--data", str(cohort.data), "--split", str(cohort.split), "--runs", str(runs)]


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    said = capsys.readouterr()
    return int(raised.value.code or 0), said.out, said.err


def test_the_list_shows_every_recipe_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ended(["train", "--list"], capsys)

    assert code == 0
    assert all(f"\n{name} " in out for name in list_recipes())


def test_the_list_for_machines_has_stable_keys(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ended(["train", "--list", "--json"], capsys)

    first, *_rest = json.loads(out)
    assert list(first) == ["name", "summary", "task", "architecture", "input_size", "passes"]


def test_a_check_counts_the_children_and_writes_nothing(
    recipe: str, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"

    code, out, _ = ended(["train", recipe, *options(cohort, runs), "--check", "--json"], capsys)

    assert code == 0
    assert json.loads(out)["images"] == {"train": 40, "validate": 20}
    assert not runs.exists()


def test_a_run_says_in_json_where_it_is_and_how_good(
    recipe: str, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*QUICK, "stages=[{passes=1, size=32}]", "images.children=16"]

    code, out, _ = ended(["train", recipe, *small, *options(cohort, tmp_path), "--json"], capsys)

    told = json.loads(out)
    assert code == 0
    assert load_file(told["weights"])
    assert told["metrics"]["val_mae_months"] > 0
    assert told["passes_done"] == 1


def test_a_run_is_repeated_by_its_folder_alone(
    recipe: str, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*QUICK, "stages=[{passes=1, size=32}]", "images.children=16"]
    _, out, _ = ended(["train", recipe, *small, *options(cohort, tmp_path), "--json"], capsys)
    done = json.loads(out)

    arguments = ["train", done["folder"], "--runs", str(tmp_path / "again"), "--json"]
    code, out, _ = ended(arguments, capsys)

    again = json.loads(out)
    ours, theirs = load_file(done["weights"]), load_file(again["weights"])
    assert code == 0
    assert again["metrics"] == done["metrics"]
    assert done["parameters"]["learning"] == done["parameters"]["all"] > 0
    assert done["hours"] >= 0
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_no_recipe_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = ended(["train"], capsys)

    assert code == USAGE
    assert "--list" in err


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["learnig_rate=1"], r"unknown key learnig_rate (did you mean learning_rate?)"),
        (["augmentation.flop=1"], "unknown key augmentation.flop (did you mean flip?)"),
        (["batch_size=some"], "batch_size"),
        (["architecture=vgg999"], "no architecture 'vgg999'"),
        (["freeze=layer9"], "it has conv1"),
        (["warm_start=nowhere.safetensors"], "nowhere.safetensors: there is no such file"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused_in_one_message(
    overrides: list[str],
    said: str,
    recipe: str,
    cohort: Cohort,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = tmp_path / "runs"

    code, out, err = ended(["train", recipe, *overrides, *options(cohort, runs)], capsys)

    assert code == REFUSED
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert not runs.exists()


def test_wrong_sexes_and_missing_files_end_with_every_one_of_them(
    recipe: str, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, runs = tmp_path / "data", tmp_path / "runs"
    shutil.copytree(cohort.data, data)
    table = data / "annotation.csv"
    table.write_text(table.read_text().replace("child3,M", "child3,?"))
    (data / "rsna_299.zip").unlink()
    here = ["--data", str(data), "--split", str(cohort.split), "--runs", str(runs)]

    code, _, err = ended(["train", recipe, *here], capsys)

    assert code == REFUSED
    assert "annotation.csv line 5: sex is '?'" in err
    assert "there is no folder rsna_299, and no rsna_299.zip, for 60 images" in err
    assert not runs.exists()


def test_foreign_classes_in_a_start_are_never_run(
    recipe: str, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "theirs.pt")
    start = f"warm_start={tmp_path / 'theirs.pt'}"

    code, _, err = ended(["train", recipe, start, *options(cohort, tmp_path / "runs")], capsys)

    assert code == REFUSED
    assert "theirs.pt" in err
    assert "classes of another program" in err


def test_a_loss_that_is_no_number_ends_with_the_mend(
    recipe: str, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = [*QUICK, "learning_rate=1e30", "clip_gradient=0", "optimizer=sgd",
            "schedule.kind=constant", "stages=[{passes=2, size=32}]"]  # fmt: skip

    code, _, err = ended(["train", recipe, *wild, *options(cohort, tmp_path)], capsys)

    assert code == REFUSED
    assert "Lower learning_rate" in err
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize("damage", ["changed", "cut off"])
def test_weights_that_were_changed_or_cut_off_end_with_the_file(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "release"
    shutil.copytree(RELEASES / newest_release(), folder)
    weights = min(folder.glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"?" if damage == "changed" else whole[: len(whole) // 2])

    code, _, err = ended(["release", "verify", str(folder)], capsys)

    assert code == REFUSED
    assert weights.name in err
    assert "restore it from its source" in err
