"""`boneage evaluate` and `boneage plot` as a person meets them."""

import csv
import json
from pathlib import Path

import pytest

from models.training.cohort import Cohort
from tests.models.builders import written_release
from tests.models.training.cohorts import write_cohort
from worker.cli.application import main

USAGE = 2


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_release(tmp_path_factory.mktemp("release"))


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    said = capsys.readouterr()
    return int(raised.value.code or 0), said.out, said.err


def options(cohort: Cohort) -> list[str]:
    return ["--data", str(cohort.data), "--split-file", str(cohort.split), "--limit", "10"]


def test_an_evaluation_for_machines_says_what_it_wrote(
    cohort: Cohort, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = ["evaluate", str(release), *options(cohort), "--images", "squashed"]

    code, said, _ = ended([*arguments, "--out", str(out), "--json"], capsys)

    answer = json.loads(said)
    assert code == 0
    assert answer["groups"][0]["n"] == 10
    assert {Path(one) for one in answer["written"]} == set(out.iterdir())
    assert (out / "evaluation.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == 10


def test_a_split_without_native_images_is_refused_in_words(
    cohort: Cohort, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(release), *options(cohort), "--images", "native"]

    code, _, said = ended(arguments, capsys)

    assert code == USAGE
    assert "code evaluate.no_images" in said


def test_the_curves_of_runs_are_one_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, error in (("first", 12.5), ("second", 9.5)):
        logged = tmp_path / name / "csv" / "metrics.csv"
        logged.parent.mkdir(parents=True)
        logged.write_text(
            "epoch,lr-AdamW,step,train_loss,val_mae_months\n"
            f",0.001,0,,\n0,,10,0.5,\n0,,20,,{error}\n",
            encoding="utf-8",
        )
        (tmp_path / name / "run.json").write_text("{}", encoding="utf-8")
    out = tmp_path / "pictures"

    code, said, _ = ended(
        ["plot", str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(out)], capsys
    )

    assert code == 0
    assert f"written: {out / 'curves.png'}" in said
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_curves_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")

    code, _, said = ended(["plot", str(tmp_path)], capsys)

    assert code == USAGE
    assert "code plot.nothing" in said
