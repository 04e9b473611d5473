"""Train one member from one recipe: ``python -m models.training.train RECIPE key=value …``."""

import argparse
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from safetensors.torch import load_file, save_file

from models.networks import BoneAgeNetwork, build_network
from models.networks.pretrained import load_imagenet_weights
from models.training.annotations import digest_of_annotations
from models.training.averaging import WarmAverage
from models.training.cohort import Cohort
from models.training.data import RadiographModule
from models.training.module import BoneAgeTraining
from models.training.places import default_data
from models.training.recipe import Recipe, read_recipe
from models.transforms import DEFAULT_RULE
from schemas.releases import PreprocessingRule

WEIGHTS_FILE = "member.safetensors"
RECORD_FILE = "run.json"
PASSES_FILE = "passes.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """What a run leaves behind; ``build_release`` gathers several of them."""

    path: Path

    @property
    def weights(self) -> Path:
        """The averaged weights, safetensors."""
        return self.path / WEIGHTS_FILE

    @property
    def record(self) -> Path:
        """Recipe, versions, digests and errors, JSON."""
        return self.path / RECORD_FILE


def _start_network(recipe: Recipe, module: RadiographModule) -> BoneAgeNetwork:
    network = build_network(
        recipe.architecture,
        age_mean_months=module.age_mean_months,
        age_sd_months=module.age_sd_months,
        hidden_features=recipe.hidden_features,
        sex_features=recipe.sex_features,
        dropout=recipe.dropout,
    )
    if recipe.warm_start:
        network.load_state_dict(load_file(recipe.warm_start))
    elif recipe.pretrained:
        load_imagenet_weights(network, recipe.architecture)
    return network.to(memory_format=torch.channels_last)


def _commit() -> str:
    """Return the commit of the working tree, or "unknown" outside one."""
    told = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 - whatever git the developer uses
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


def _describe_run(
    recipe: Recipe, module: RadiographModule, cohort: Cohort, rule: PreprocessingRule
) -> dict[str, Any]:
    return {
        "recipe": recipe.as_dict(),
        "preprocessing": rule.model_dump(),
        "age_mean_months": module.age_mean_months,
        "age_sd_months": module.age_sd_months,
        "training_children": len(module.training),
        "validation_children": len(module.validation),
        "training_data_sha256": digest_of_annotations(module.training),
        "split_sha256": cohort.split_sha256,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "timm", "lightning", "numpy")},
    }


class _KeepRecord(lightning.Callback):
    """After each pass, write averaged weights and record, so that a cut-off run is of use."""

    def __init__(self, folder: RunFolder, record: dict[str, Any]) -> None:
        self._folder = folder
        self._record = record

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write the weights that were just validated: during validation they are the averages."""
        if trainer.sanity_checking or not isinstance(pl_module, BoneAgeTraining):
            return
        state = {
            name: value.detach().contiguous().clone()
            for name, value in pl_module.network.state_dict().items()
        }
        save_file(state, self._folder.weights)
        self._record["passes_done"] = trainer.current_epoch + 1
        self._record["input_size"] = pl_module.size_at(trainer.current_epoch)
        self._record["validation_mae_months"] = float(trainer.callback_metrics["val_mae_months"])
        text = json.dumps(self._record, indent=1)
        self._folder.record.write_text(text + "\n", encoding="utf-8")
        self._append_pass(trainer)

    def _append_pass(self, trainer: lightning.Trainer) -> None:
        """Add a line to passes.csv, which an interrupted run goes on with."""
        path = self._folder.path / PASSES_FILE
        if not path.exists():
            path.write_text("pass,size,validation_mae_months,finished_at\n", encoding="utf-8")
        error, size = self._record["validation_mae_months"], self._record["input_size"]
        at = datetime.now(tz=UTC).isoformat(timespec="seconds")
        with path.open("a", encoding="utf-8") as lines:
            lines.write(f"{trainer.current_epoch + 1},{size},{error:.3f},{at}\n")


def train(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    cohort: Cohort,
    runs: Path,
    rule: PreprocessingRule = DEFAULT_RULE,
    progress: bool = True,
) -> RunFolder:
    """Train one member; go on where an interrupted run of the same name stopped.

    Args:
        recipe: name of a shipped recipe, or path of a TOML file.
        overrides: ``key=value``.
        cohort: the children, and which of them train and validate.
        runs: the run writes ``runs/<recipe name>``; prepared images are kept in ``runs/cache``.
        rule: preprocessing; the release will carry it.
        progress: show Lightning's progress bar.

    Raises:
        RecipeError: the recipe cannot be used.
        NoTrainingDataError: the data are not there.
    """
    plan = read_recipe(recipe, overrides)
    folder = RunFolder(path=runs / plan.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    if plan.threads:
        torch.set_num_threads(plan.threads)
    lightning.seed_everything(plan.seed, verbose=False)
    module = RadiographModule(plan, cohort=cohort, cache=runs / "cache", rule=rule)
    training = BoneAgeTraining(
        _start_network(plan, module), plan, steps=module.steps_in_a_pass * plan.passes
    )
    record = _describe_run(plan, module, cohort, rule)
    checkpoints = ModelCheckpoint(
        dirpath=folder.path, filename="last", enable_version_counter=False
    )
    trainer = lightning.Trainer(
        max_epochs=plan.passes,
        precision=plan.precision,  # type: ignore[arg-type]  # checked by Lightning
        gradient_clip_val=plan.clip_gradient,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[
            WarmAverage(decay=plan.ema_decay),
            checkpoints,
            _KeepRecord(folder, record),
        ],
        logger=[
            CSVLogger(folder.path, name="csv", version=""),
            TensorBoardLogger(str(folder.path), name="tensorboard", version=""),
        ],
        default_root_dir=folder.path,
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    last = folder.path / "last.ckpt"
    trainer.fit(training, module, ckpt_path=str(last) if last.exists() else None)
    return folder


def main() -> None:
    """Train one member from one recipe."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("recipe", help="name in models/recipes, or a TOML file")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--no-progress", action="store_true")
    given = parser.parse_args()
    train(
        given.recipe,
        given.overrides,
        cohort=Cohort(data=given.data),
        runs=given.runs,
        progress=not given.no_progress,
    )


if __name__ == "__main__":
    main()
