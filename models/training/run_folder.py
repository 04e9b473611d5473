"""What a run leaves behind: all that is needed to use it, to judge it and to repeat it."""

import csv
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.training.averaging import WarmAverage
from models.training.module import MemberTraining
from models.training.recipe import WATCHED, Recipe
from models.training.recipe_file import read_recipe, write_recipe
from models.training.run_log import forget_log
from models.training.whole_files import written_whole
from schemas.errors import PermanentError
from schemas.releases import TrainingRecord

#: folders of what Lightning logs: curves as CSV, and for TensorBoard
CURVES, BOARD = "csv", "tensorboard"
LOGS = (CURVES, BOARD)
#: keys that do not change what a run learns; a run may go on with others
_OF_THE_MACHINE = frozenset({"threads", "workers", "summary", "keep_every", "device_stats"})
#: what a run that goes on takes over from the record of its first part
_KEPT = ("started_at", "best_watched", "best_pass", "input_size", "metrics", "passes_done")


class RunFolderError(PermanentError):
    """A run of this name cannot go on."""

    code = "train.run"

    def __init__(self, *, path: Path, problem: str, mend: str) -> None:
        super().__init__(f"{path} cannot be gone on with: {problem}. Nothing was trained. {mend}.")


class DamagedRunError(PermanentError):
    """A file of a run cannot be read."""

    code = "train.damaged"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"{path} is cut off or damaged. Nothing was written. Copy the run's folder again from "
            "where it was trained, or train it anew under another name."
        )


class UnwritableRunError(PermanentError):
    """The disk does not take what a run gives."""

    code = "train.disk"

    def __init__(self, *, path: Path, reason: str, passes_done: int) -> None:
        left = (
            f"{passes_done} whole passes are kept, and nothing half-written"
            if passes_done
            else "No pass was done, and nothing is left of the run"
        )
        super().__init__(
            f"{path} cannot be written any more: {reason}. {left}. Free space on its disk, or give "
            "--runs on another one, and give the same command again."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """The files of one run; ``build_release`` gathers several of them."""

    path: Path

    @property
    def weights(self) -> Path:
        """The weights of the best pass at the final size, averaged if the recipe averages."""
        return self.path / "member.safetensors"

    @property
    def record(self) -> Path:
        """Recipe, versions, digests, command and errors, JSON."""
        return self.path / "run.json"

    @property
    def recipe(self) -> Path:
        """The recipe with its bases and overrides; `boneage train` takes it as it is."""
        return self.path / "recipe.toml"

    @property
    def split(self) -> Path:
        """Which child was in which part, by hash."""
        return self.path / "split.csv"

    @property
    def start(self) -> Path | None:
        """The weights that the run began with, where they came from a file."""
        return next(iter(sorted(self.path.glob("start.*"))), None)

    def keep_start(self, weights: Path) -> None:
        """Copy the weights that the run begins with, so that it can be repeated without them."""
        if self.start is None:
            shutil.copyfile(weights, self.path / f"start{weights.suffix}")

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.weights.exists() and bool(self.read_record().get("is_finished"))

    @property
    def passes(self) -> Path:
        """One line for each pass."""
        return self.path / "passes.csv"

    @property
    def log(self) -> Path:
        """What the run said while it went; older parts are run.log.1 to 3."""
        return self.path / "run.log"

    @property
    def last(self) -> Path:
        """Checkpoint of the last whole pass; a run goes on from it."""
        return self.path / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint of the best pass at the final size."""
        return self.path / "best.ckpt"

    @property
    def is_kept(self) -> bool:
        """Whether a pass was done, so that there is something to go on with or to use."""
        return self.last.exists() or self.weights.exists()

    def forget(self) -> None:
        """Remove what ``begin`` and the logs wrote, and the folder if nothing else is in it."""
        for file in (self.recipe, self.split, self.best, *self.path.glob("start.*")):
            file.unlink(missing_ok=True)
        forget_log(self.log)
        for logs in LOGS:
            shutil.rmtree(self.path / logs, ignore_errors=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def read_record(self) -> dict[str, Any]:
        """Return run.json; empty where there is none yet.

        Raises:
            DamagedRunError: it is no JSON.
        """
        if not self.record.exists():
            return {}
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DamagedRunError(path=self.record) from error
        return record

    def read_training(self) -> TrainingRecord:
        """Return how the run went, as far as it was written down."""
        record = self.read_record()
        began, ended = record.get("started_at"), record.get("finished_at")
        hours = None
        if began and ended:
            seconds = (
                datetime.fromisoformat(ended) - datetime.fromisoformat(began)
            ).total_seconds()
            hours = round(seconds / 3600, 2)
        curve: list[tuple[int, float]] = []
        if self.passes.exists():
            with self.passes.open(newline="", encoding="utf-8") as lines:
                rows = [row for row in csv.reader(lines) if row and row[0].isdecimal()]
            curve = [(int(size), float(error)) for _, size, error, *_ in rows]
        return TrainingRecord(hardware=record.get("hardware", ""), hours=hours, curve=tuple(curve))

    def begin(self, recipe: Recipe) -> None:
        """Make the folder, or see whether the run in it can go on.

        What a run left that did not come to the end of its first pass is put away.

        Raises:
            RunFolderError: the folder holds a run of another recipe, or its checkpoint is damaged.
        """
        if not self.is_kept:
            self.forget()
        elif self.recipe.exists():
            self._require_same(recipe)
        if self.last.exists() and not zipfile.is_zipfile(self.last):
            raise RunFolderError(
                path=self.last,
                problem="the checkpoint is cut off or damaged",
                mend="Put best.ckpt in its place, or remove it to begin anew",
            )
        self.path.mkdir(parents=True, exist_ok=True)
        write_recipe(self.recipe, recipe)

    def _require_same(self, recipe: Recipe) -> None:
        before, now = read_recipe(self.recipe).as_dict(), recipe.as_dict()
        keys = sorted(set(before) | set(now))
        changed = [key for key in keys if before.get(key) != now.get(key)]
        changed = [key for key in changed if key not in _OF_THE_MACHINE]
        if changed:
            raise RunFolderError(
                path=self.path,
                problem=f"it was begun with another recipe ({', '.join(changed)} differ)",
                mend="Give another name=…, or move the folder away",
            )


def describe_machine() -> dict[str, Any]:
    """Return command, commit, versions and hardware of this process."""
    names = ("torch", "torchvision", "timm", "lightning", "numpy", "opencv-python")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "command": shlex.join(sys.argv),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
        "hardware": ", ".join(gpus) or f"{platform.machine()} CPU, {os.cpu_count()} cores",
        "started_at": _now(),
    }


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")


def _commit() -> str:
    """Return the commit of the working tree, "unknown" outside one."""
    told = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 - whatever git the developer uses
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


class KeepRecord(lightning.Callback):
    """After each pass, write weights and record, so that a cut-off run is of use.

    Kept are the weights of the best pass at the final size; until that size is reached, those of
    the last pass. Files are written beside their place and then put there.
    """

    def __init__(
        self, folder: RunFolder, record: Mapping[str, Any], *, average: WarmAverage | None
    ) -> None:
        self._folder = folder
        self._record = {**record, "passes_done": 0, "is_finished": False}
        before = folder.read_record()
        for key in _KEPT:
            if key in before and folder.last.exists():
                self._record[key] = before[key]
        for key, value in before.items():
            if key.startswith("validation_") and folder.last.exists():
                self._record[key] = value
        self._average = average

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write what the pass that was just validated gave."""
        if trainer.sanity_checking or not isinstance(pl_module, MemberTraining):
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        size = pl_module.recipe.size_at(trainer.current_epoch)
        is_final = size == pl_module.recipe.input_size
        best = self._record.get("best_watched")
        is_better = not is_final or best is None or metrics[WATCHED] < best
        if is_final and is_better:
            trainer.save_checkpoint(self._folder.best)  # all processes of a run meet in it
        every, done = pl_module.recipe.keep_every, trainer.current_epoch + 1
        if every and done % every == 0:
            trainer.save_checkpoint(self._folder.path / f"pass-{done}.ckpt")
        # and so all of them must know the best
        self._record["best_watched"] = metrics[WATCHED] if is_final and is_better else best
        if not trainer.is_global_zero:
            return
        self._record["passes_done"] = trainer.current_epoch + 1
        self._record["finished_at"] = _now()
        if is_better:
            self._keep(pl_module, metrics, size=size)
        self._write_record()
        self._append_pass(metrics, size=size, watched=pl_module.recipe.metric)

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write down that the run is at its end, by its last pass or for want of progress."""
        del pl_module
        if trainer.is_global_zero and not trainer.interrupted:
            self._record["is_finished"] = True
            self._write_record()

    def _keep(self, module: MemberTraining, metrics: Mapping[str, float], *, size: int) -> None:
        state = self._average.network_state() if self._average else module.network.state_dict()
        self._record["best_pass"] = self._record["passes_done"]
        self._record["input_size"] = size
        self._record["metrics"] = {
            name: round(value, 4) for name, value in metrics.items() if name.startswith("val_")
        }
        error = metrics.get("val_mae_months")
        if error is not None:
            self._record["validation_mae_months"] = error
        _write_weights(self._folder.weights, state)

    def _write_record(self) -> None:
        with written_whole(self._folder.record) as beside:
            beside.write_text(json.dumps(self._record, indent=1) + "\n", encoding="utf-8")

    def _append_pass(self, metrics: Mapping[str, float], *, size: int, watched: str) -> None:
        """Add a line to passes.csv; a pass that was cut off behind its line has but the new one."""
        path, done = self._folder.passes, self._record["passes_done"]
        name = "validation_mae_months" if watched == "val_mae_months" else watched
        lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
        before = [line for line in lines if int(line.split(",")[0]) < done]
        this = f"{done},{size},{metrics[watched]:.3f},{_now()}"
        text = "\n".join([f"pass,size,{name},finished_at", *before, this]) + "\n"
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")


def _write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    whole = {name: one.detach().contiguous().clone() for name, one in state.items()}
    with written_whole(path) as beside:
        save_file(whole, beside)
        beside.chmod(0o644)


def list_runs(runs: Path) -> Sequence[RunFolder]:
    """Return the runs in a folder that have weights, sorted by name."""
    return [RunFolder(path=one.parent) for one in sorted(runs.glob("*/member.safetensors"))]
