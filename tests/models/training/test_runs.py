"""What becomes of a run: it is cut off, repeated, stopped early, spoilt; and what is left then."""

import csv
import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models.evaluation.answers import ignore_progress
from models.evaluation.classes import report_classes, write_report
from models.evaluation.page import read_curves
from models.evaluation.pictures import draw_classes
from models.networks.pretrained import StartWeightsError
from models.training.annotations import TrainingDataError
from models.training.cohort import Cohort
from models.training.data import Example
from models.training.module import AgeTraining, LossNotFiniteError
from models.training.recipe_file import read_recipe
from models.training.run_folder import (
    BOARD,
    KeepRecord,
    RunFolder,
    RunFolderError,
    UnwritableRunError,
)
from models.training.run_log import FILE_BYTES, FILES, logged_to
from models.training.train import train
from tests.models.builders import drawn_hand, small_network
from tests.models.training.cohorts import LIGHTNING_WARNINGS, QUICK, write_cohort, write_recipe

pytestmark = [
    *(pytest.mark.filterwarnings(one) for one in LIGHTNING_WARNINGS),
    # torchmetrics, when a handful of children are all of one kind
    pytest.mark.filterwarnings("ignore::UserWarning:torchmetrics"),
]
TINY = (*QUICK, "stages=[{passes=2, size=32}]", "images.children=24", "ema_decay=0.9")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "data")


def run(*overrides: str, cohort: Cohort, runs: Path, recipe: str | Path | None = None) -> RunFolder:
    chosen = recipe or write_recipe(runs)
    return train(chosen, (*TINY, *overrides), cohort=cohort, runs=runs, progress=False)


@pytest.fixture(scope="module")
def done(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run that no test changes."""
    return run("seed=7", cohort=cohort, runs=tmp_path_factory.mktemp("runs"))


def copied(done: RunFolder, runs: Path) -> RunFolder:
    shutil.copytree(done.path, runs / done.path.name)
    return RunFolder(path=runs / done.path.name)


def test_a_run_folder_alone_repeats_the_run(
    done: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    repeated = Cohort(data=cohort.data, split=done.split)

    again = train(done.path, cohort=repeated, runs=tmp_path, progress=False)

    ours, theirs = load_file(done.weights), load_file(again.weights)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_writes_down_in_words_how_it_went(done: RunFolder) -> None:
    lines = done.log.read_text(encoding="utf-8").splitlines()

    first, second = (line for line in lines if "done in" in line)
    assert "Begins: " in lines[0]
    record = done.read_record()
    assert f"24 training and {record['validation_children']} validation images" in lines[0]
    assert "Pass 1 of 2" in first
    assert "Pass 2 of 2" in second
    assert f"val_mae_months {done.read_record()['metrics']['val_mae_months']:.4g}" in second
    assert lines[-1].endswith("INFO End")


def test_the_log_of_a_run_that_broke_says_why_and_one_that_goes_on_appends(tmp_path: Path) -> None:
    path = tmp_path / "run.log"

    def break_down() -> None:
        with logged_to(path) as log:
            log.info("Begins: x")
            raise MemoryError("no room for a batch")

    with pytest.raises(MemoryError):
        break_down()
    with logged_to(path) as log:
        log.info("Goes on: x")

    said = [line.split(maxsplit=3)[3] for line in path.read_text(encoding="utf-8").splitlines()]
    assert said == ["Begins: x", "Ended by MemoryError: no room for a batch", "Goes on: x", "End"]


def test_the_log_of_a_long_run_keeps_its_newest_files_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with logged_to(path) as log:
        for number in range(6 * FILE_BYTES // 1000):
            log.info("%05d %s", number, "x" * 1000)

    kept = [path, *(path.with_name(f"run.log.{number}") for number in range(1, FILES))]
    assert sorted(tmp_path.iterdir()) == kept
    assert all(one.stat().st_size <= FILE_BYTES for one in kept)
    assert path.read_text(encoding="utf-8").splitlines()[-1].endswith("INFO End")


def test_a_slow_pass_says_each_minute_how_far_it_is(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.training.run_log.STEP_SECONDS", 0.0)

    folder = run("batch_size=8", cohort=cohort, runs=tmp_path)

    said = folder.log.read_text(encoding="utf-8")
    assert "Pass 1 of 2, step 1 of 3, loss " in said
    assert "Pass 2 of 2, step 3 of 3, loss " in said


def run_until(epoch: int, *overrides: str, cohort: Cohort, runs: Path) -> None:
    """Begin a run that is cut off in pass ``epoch``, counted from 0."""
    learn = AgeTraining.training_step

    def killed(module: AgeTraining, batch: Example, index: int) -> torch.Tensor:
        if module.current_epoch == epoch:
            raise RuntimeError
        return learn(module, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AgeTraining, "training_step", killed)
        with pytest.raises(RuntimeError):
            run(*overrides, cohort=cohort, runs=runs)


def test_a_run_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(
    done: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    run_until(1, "seed=7", cohort=cohort, runs=tmp_path)

    went_on = run("seed=7", cohort=cohort, runs=tmp_path)

    ours, theirs = (torch.load(one.last)["state_dict"] for one in (done, went_on))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_that_was_cut_off_keeps_its_curves_with_one_line_for_each_pass(
    cohort: Cohort, tmp_path: Path
) -> None:
    longer = ("stages=[{passes=3, size=32}]", "name=cut")
    run_until(2, *longer, cohort=cohort, runs=tmp_path)
    cut = RunFolder(path=tmp_path / "cut")
    lines = cut.passes.read_text(encoding="utf-8")
    cut.passes.write_text(lines + "3,32,1.000,2026-01-01\n", encoding="utf-8")  # it got so far
    began = "2026-01-01T00:00:00+00:00"
    cut.record.write_text(json.dumps({**cut.read_record(), "started_at": began}), encoding="utf-8")

    run(*longer, cohort=cohort, runs=tmp_path)

    assert cut.read_record()["started_at"] == began
    passes = cut.passes.read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in passes] == ["pass", "1", "2", "3"]
    assert "1.000" not in passes[3]
    assert [number for number, _ in read_curves(cut.path)["val_loss"]] == [1, 2, 3]


def test_a_record_says_what_was_run_with_what(done: RunFolder, cohort: Cohort) -> None:
    record = done.read_record()

    assert record["recipe"]["seed"] == 7
    assert "seed=7" in record["overrides"]
    assert record["split_sha256"] == cohort.split_sha256
    for key in ("command", "commit", "hardware", "started_at", "finished_at", "data", "python"):
        assert record[key], key
    assert {"torch", "timm", "lightning"} <= set(record["versions"])


def test_tensorboard_shows_the_first_batch_and_estimates_against_labels(done: RunFolder) -> None:
    board = EventAccumulator(str(done.path / BOARD))
    board.Reload()

    assert set(board.Tags()["images"]) == {"batch", "estimates"}
    assert {"train_loss_epoch", "val_mae_months", "lr-AdamW/pg1"} <= set(board.Tags()["scalars"])


def test_a_run_in_mixed_precision_learns_and_keeps_whole_weights(
    cohort: Cohort, tmp_path: Path
) -> None:
    mixed = run(
        "precision=bf16-mixed", "stages=[{passes=1, size=32}]", cohort=cohort, runs=tmp_path
    )

    assert np.isfinite(mixed.read_record()["metrics"]["val_mae_months"])
    assert {one.dtype for one in load_file(mixed.weights).values()} == {torch.float32, torch.int64}


def test_the_weights_that_are_kept_are_those_that_were_validated(done: RunFolder) -> None:
    best = torch.load(done.best, map_location="cpu", weights_only=True)["state_dict"]
    kept = load_file(done.weights)

    assert all(torch.equal(best[f"network.{name}"], one) for name, one in kept.items())


def test_the_best_pass_at_the_final_size_is_kept(cohort: Cohort, tmp_path: Path) -> None:
    grown = "stages=[{passes=1, size=32}, {passes=3, size=64}]"

    record = run(grown, cohort=cohort, runs=tmp_path).read_record()

    lines = (tmp_path / "tiny" / "passes.csv").read_text(encoding="utf-8").splitlines()[1:]
    errors = {int(line.split(",")[0]): float(line.split(",")[2]) for line in lines}
    del errors[1]  # of the smaller size
    assert record["best_pass"] == min(errors, key=lambda one: errors[one])
    assert record["input_size"] == 64


@pytest.mark.parametrize("rank", [0, 1])
def test_every_process_of_a_run_meets_the_others_in_the_same_passes(
    rank: int, tmp_path: Path
) -> None:
    saved: list[int] = []
    trainer = SimpleNamespace(sanity_checking=False, is_global_zero=rank == 0)
    trainer.save_checkpoint = lambda _path: saved.append(trainer.current_epoch)
    recipe = read_recipe(write_recipe(tmp_path), ["stages=[{passes=4, size=32}]"])
    module = AgeTraining(small_network(), recipe)
    keep = KeepRecord(RunFolder(path=tmp_path), {"recipe": recipe.as_dict()}, average=None)

    for trainer.current_epoch, error in enumerate([9.0, 8.0, 8.5, 7.0]):
        trainer.callback_metrics = {"watched": error, "val_mae_months": error}
        keep.on_validation_end(trainer, module)  # type: ignore[arg-type]  # what it asks of one

    assert saved == [0, 1, 3]


def test_a_checkpoint_is_kept_of_every_so_many_passes(tmp_path: Path) -> None:
    saved: list[str] = []
    trainer = SimpleNamespace(sanity_checking=False, is_global_zero=False)
    trainer.save_checkpoint = lambda path: saved.append(path.name)
    trainer.callback_metrics = {"watched": 9.0, "val_mae_months": 9.0}
    recipe = read_recipe(write_recipe(tmp_path), ["keep_every=2", "stages=[{passes=5, size=32}]"])
    module = AgeTraining(small_network(), recipe)
    keep = KeepRecord(RunFolder(path=tmp_path), {}, average=None)

    for trainer.current_epoch in range(5):
        keep.on_validation_end(trainer, module)  # type: ignore[arg-type]  # what it asks of one

    assert saved == ["best.ckpt", "pass-2.ckpt", "pass-4.ckpt"]


def test_load_and_memory_stand_beside_the_curves_where_a_recipe_asks(
    cohort: Cohort, tmp_path: Path
) -> None:
    asked = ("device_stats=true", "stages=[{passes=1, size=32}]", "images.children=40")

    folder = run(*asked, "batch_size=2", cohort=cohort, runs=tmp_path)

    with (folder.path / "csv" / "metrics.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    (load,) = [name for name in rows[0] if name.endswith("train_batch_end/cpu_percent")]
    assert any(row[load] and 0 <= float(row[load]) <= 100 for row in rows)
    assert not any("cpu" in name for name in read_curves(folder.path))


def test_a_run_that_makes_no_progress_ends_early(cohort: Cohort, tmp_path: Path) -> None:
    still = ("learning_rate=1e-12", "stages=[{passes=9, size=32}]", "watch.patience=1")

    record = run(*still, "ema_decay=0", cohort=cohort, runs=tmp_path).read_record()

    assert record["passes_done"] < 9


def test_a_frozen_backbone_is_the_same_after_the_run(
    done: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    after = run("freeze=backbone", f"warm_start={done.weights}", cohort=cohort, runs=tmp_path)

    before, now = load_file(done.weights), load_file(after.weights)
    frozen = [name for name in before if name.startswith("backbone.")]
    assert any("running_mean" in name for name in frozen)
    assert all(torch.equal(before[name], now[name]) for name in frozen)
    assert not torch.equal(before["regressor.1.weight"], now["regressor.1.weight"])
    counted = after.read_record()["parameters"]
    assert counted["learning"] == sum(
        one.numel()
        for name, one in small_network().named_parameters()
        if not name.startswith("backbone.")
    )
    assert counted["learning"] < counted["all"]


@pytest.mark.parametrize(
    ("overrides", "metric"),
    [
        (("head.sex=explicit_predicted", "loss.learned_weights=true"), "val_sex_auroc"),
        (("head.sex=only", "loss.sex_weight=1"), "val_sex_f1"),
        (("head.distribution=true", "loss.age=distribution"), "val_pearson"),
        (("schedule.kind=plateau", "images.balance=age", "images.cache=memory"), "val_rmse_months"),
    ],
    ids=["explicit", "only", "distribution", "balanced"],
)
def test_a_run_measures_what_its_head_says(
    overrides: tuple[str, ...], metric: str, cohort: Cohort, tmp_path: Path
) -> None:
    record = run(*overrides, "images.children=0", cohort=cohort, runs=tmp_path).read_record()

    assert np.isfinite(record["metrics"][metric])


def test_a_loss_that_is_no_number_in_the_first_pass_leaves_nothing(
    cohort: Cohort, tmp_path: Path
) -> None:
    wild = ("learning_rate=1e30", "clip_gradient=0", "optimizer=sgd", "schedule.kind=constant")

    with pytest.raises(LossNotFiniteError, match=r"tiny became.*pass 1.*learning_rate.*again"):
        run(*wild, cohort=cohort, runs=tmp_path)

    assert {one.name for one in tmp_path.iterdir()} == {"tiny.toml", "cache"}


@pytest.mark.parametrize("room", [0, 1], ids=["no pass", "one pass"])
def test_a_full_disk_ends_with_the_mend_and_nothing_half_written(
    room: int, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write = Path.write_bytes

    def write_until_full(path: Path, content: bytes) -> int:
        """Stand in for a disk that a checkpoint no longer fits on: best and last of each pass."""
        if path.name in ("best.part", "last.part"):
            written.append(path)
            if len(written) > 2 * room:
                write(path, bytes(content)[:1000])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    (tmp_path / "cache").mkdir()
    with pytest.raises(UnwritableRunError, match=r"No space left on device.*same command again"):
        run("images.cache=memory", cohort=cohort, runs=tmp_path)

    assert not list(tmp_path.rglob("*.part"))
    assert (tmp_path / "tiny").exists() == bool(room)
    if room:
        monkeypatch.undo()
        assert RunFolder(path=tmp_path / "tiny").read_record()["passes_done"] >= 1
        assert run("images.cache=memory", cohort=cohort, runs=tmp_path).is_finished


def test_a_run_does_not_go_on_with_another_recipe(
    done: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    copied(done, tmp_path)

    with pytest.raises(RunFolderError, match=r"dropout differ.*another name"):
        run("seed=7", "dropout=0.5", cohort=cohort, runs=tmp_path)


def test_a_checkpoint_that_is_cut_off_is_named(
    done: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    last = copied(done, tmp_path).last
    last.write_bytes(last.read_bytes()[:1000])

    with pytest.raises(RunFolderError, match=r"last\.ckpt.*cut off.*best\.ckpt"):
        run("seed=7", cohort=cohort, runs=tmp_path)


def test_a_start_that_cannot_be_used_is_named_before_anything_is_written(
    cohort: Cohort, tmp_path: Path
) -> None:
    cut_off = tmp_path / "cut.safetensors"
    cut_off.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    pickled = tmp_path / "classes.pt"
    torch.save({"model": torch.nn.Linear(2, 2)}, pickled)

    for start, problem in (
        (cut_off, "cut off or damaged"),
        (pickled, "classes of another program"),
        (tmp_path / "nowhere.safetensors", "no such file"),
    ):
        with pytest.raises(StartWeightsError, match=problem):
            run(f"warm_start={start}", "name=started", cohort=cohort, runs=tmp_path)

    assert not (tmp_path / "started").exists()


def test_published_backbone_weights_in_colour_are_read_in_grey(
    cohort: Cohort, tmp_path: Path
) -> None:
    published = timm.create_model("resnet10t").state_dict()  # colour, with a classifier
    torch.save(published, tmp_path / "imagenet.pth")

    folder = run(
        f"backbone_weights={tmp_path / 'imagenet.pth'}",
        "freeze=backbone",
        cohort=cohort,
        runs=tmp_path,
    )

    kept = load_file(folder.weights)
    stem = kept["backbone.conv1.0.weight"]
    assert torch.allclose(stem, published["conv1.0.weight"].sum(dim=1, keepdim=True), atol=1e-6)


def write_classes(folder: Path, *, rows: dict[str, int]) -> Path:
    """Bright and dark hands in folders of their own."""
    for part in ("train", "val"):
        for number in range(12):
            for label, top in rows.items():
                place = folder / part / label
                place.mkdir(parents=True, exist_ok=True)
                hand = drawn_hand(60, 50) * (0.7 if top else 0.2)
                hand[: top or 1] = 255
                cv2.imwrite(str(place / f"{number}.png"), np.clip(hand, 0, 255).astype(np.uint8))
    return folder


def test_two_classes_in_folders_are_told_apart(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "xray", rows={"NORMAL": 0, "PNEUMONIA": 20})
    overrides = (*QUICK, "architecture=resnet10t", "stages=[{passes=10, size=48}]", "name=x",
                 "learning_rate=1e-3", "loss.class_weights=balanced")  # fmt: skip

    folder = train(
        "pneumonia-fine-tune", overrides, cohort=Cohort(data=data), runs=tmp_path, progress=False
    )

    record = folder.read_record()
    assert record["classes"] == ["NORMAL", "PNEUMONIA"]
    assert record["training_images"] == 24
    assert record["metrics"]["val_accuracy"] > 0.8
    report = report_classes(str(folder.path), data=None, limit=0, progress=ignore_progress)
    assert report.accuracy == pytest.approx(record["metrics"]["val_accuracy"], abs=1e-4)
    assert [sum(row) for row in report.confusion] == [row.n for row in report.rows] == [12, 12]
    drawn = draw_classes(report.curves, report.confusion, classes=report.classes)
    page, _, table, *_ = write_report(report, drawn, tmp_path / "report")
    assert page.read_text(encoding="utf-8").count("data:image/png;base64,") == len(drawn) == 2
    assert len(table.read_text(encoding="utf-8").splitlines()) == 1 + 24


def test_a_folder_without_classes_is_named(tmp_path: Path) -> None:
    (tmp_path / "train" / "NORMAL").mkdir(parents=True)

    with pytest.raises(TrainingDataError, match="no two folders"):
        train("pneumonia-fixed", cohort=Cohort(data=tmp_path), runs=tmp_path, progress=False)
