"""Train one member from one recipe; `boneage train` is the same on the command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError
from torch import nn

from models.networks import BackboneShape, BoneAgeNetwork, ClassNetwork
from models.networks.pretrained import (
    load_backbone_file,
    load_imagenet_weights,
    load_start_weights,
)
from models.training.annotations import digest_of_annotations
from models.training.averaging import WarmAverage
from models.training.class_folders import ClassModule
from models.training.cohort import Cohort, check_cohort
from models.training.data import RadiographModule
from models.training.module import AgeTraining, ClassTraining, MemberTraining
from models.training.pictures import TrainingPictures
from models.training.prepared import Progress
from models.training.recipe import WATCHED, Recipe
from models.training.recipe_file import read_recipe
from models.training.run_folder import (
    BOARD,
    CURVES,
    KeepRecord,
    RunFolder,
    UnwritableRunError,
    describe_machine,
)
from models.training.run_log import LogPasses, logged_to
from models.training.split import write_split
from models.training.whole_files import WholeCheckpoints
from schemas.errors import PermanentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Where a run computes, in the words of Lightning's Trainer."""

    accelerator: str = "auto"
    devices: str = "auto"  #: how many, or which: "2", "0,3"
    strategy: str = "auto"  #: "ddp" and its kin for several
    nodes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """Network, data and record of a run before its first step."""

    training: MemberTraining
    module: RadiographModule | ClassModule
    record: dict[str, Any]


def plan_run(
    recipe: Recipe, *, cohort: Cohort, cache: Path, progress: Progress, start: Path | None = None
) -> PlannedRun:
    """Return all that a run needs; nothing was written.

    ``start``: the file of its first weights; None: as the recipe says.

    Raises:
        PermanentError: data, weights or network are not as the recipe needs them.
    """
    shape = BackboneShape(
        architecture=recipe.architecture, channels=recipe.channels, drop_path=recipe.drop_path
    )
    record = {"recipe": recipe.as_dict(), **describe_machine()}
    if recipe.task == "classes":
        return _plan_classes(recipe, shape, record, data=cohort.data, start=start)
    use_mask = recipe.preprocessing is not None and recipe.preprocessing.use_mask
    check_cohort(cohort, folders=recipe.images.folders, use_mask=use_mask)
    module = RadiographModule(recipe, cohort=cohort, cache=cache, progress=progress)
    network = BoneAgeNetwork(
        shape,
        recipe.head,
        age_mean_months=module.age_mean_months,
        age_sd_months=module.age_sd_months,
        dropout=recipe.dropout,
    )
    _start(network, network.backbone, recipe, start=start)
    record |= {
        "preprocessing": recipe.rule.model_dump(),
        "age_mean_months": module.age_mean_months,
        "age_sd_months": module.age_sd_months,
        "training_children": len(module.training),
        "validation_children": len(module.validation),
        "training_data_sha256": digest_of_annotations(module.training),
        "split_sha256": cohort.split_sha256,
        "data": str(cohort.data),
        "table": str(cohort.table or ""),
        "masks": [str(path) for path in cohort.masks],
    }
    training = AgeTraining(network, recipe)
    record["parameters"] = count_parameters(training.network)
    return PlannedRun(training=training, module=module, record=record)


def count_parameters(network: nn.Module) -> dict[str, int]:
    """Return how many numbers a network has, and how many of them learn."""
    sizes = [(one.numel(), one.requires_grad) for one in network.parameters()]
    return {
        "all": sum(size for size, _learns in sizes),
        "learning": sum(size for size, learns in sizes if learns),
    }


def _plan_classes(
    recipe: Recipe,
    shape: BackboneShape,
    record: dict[str, Any],
    *,
    data: Path,
    start: Path | None,
) -> PlannedRun:
    module = ClassModule(recipe, data=data)
    network = ClassNetwork(shape, classes=len(module.classes), dropout=recipe.dropout)
    _start(network, network.backbone, recipe, start=start)
    record |= {
        "classes": list(module.classes),
        "training_images": len(module.training),
        "validation_images": len(module.validation),
        "data": str(data),
    }
    training = ClassTraining(network, recipe, weights=module.class_weights)
    record["parameters"] = count_parameters(training.network)
    return PlannedRun(training=training, module=module, record=record)


def _start(network: nn.Module, backbone: nn.Module, recipe: Recipe, *, start: Path | None) -> None:
    """Give a network its first weights."""
    if recipe.warm_start or recipe.after:
        load_start_weights(network, start or Path(recipe.warm_start))
    elif recipe.backbone_weights:
        load_backbone_file(backbone, start or Path(recipe.backbone_weights))
    elif recipe.pretrained:
        load_imagenet_weights(backbone, recipe.architecture)
    network.to(memory_format=torch.channels_last)


def train(  # noqa: PLR0913 - what, with which data, where to, on what, and who is told
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    cohort: Cohort,
    runs: Path,
    hardware: Hardware | None = None,
    progress: bool = True,
    preparing: Progress = lambda *_: None,
) -> RunFolder:
    """Train one member; go on where an interrupted run of the same name stopped.

    A recipe that comes ``after`` another one starts from what that one gave in the same folder of
    runs; it is trained first where it is not there, unchanged.

    Args:
        recipe: name of a shipped recipe, path of a TOML file, or a run folder to repeat.
        overrides: ``key=value``.
        cohort: the children, and which of them train and validate; for a recipe of classes its
            ``data`` holds the folders.
        runs: the run writes ``runs/<recipe name>``; prepared images are kept in ``runs/cache``.
        hardware: where it computes; whatever is there by default.
        progress: show a progress bar while training.
        preparing: told how many images of a size are prepared.

    Raises:
        PermanentError: recipe, data, weights or run folder cannot be used, the loss is no number,
            or the disk is full; the message says which and what to do.
    """
    plan = read_recipe(recipe, overrides)
    # of the run that is to be repeated, of the step before, or of a file
    start = RunFolder(path=Path(recipe)).start or _weights_named_in(plan)
    if start is None and plan.after:
        where = {"cohort": cohort, "hardware": hardware, "progress": progress}
        start = _first_step(plan.after, runs=runs, preparing=preparing, **where).weights
    if plan.threads:
        torch.set_num_threads(plan.threads)
    lightning.seed_everything(plan.seed, verbose=False)
    run = plan_run(plan, cohort=cohort, cache=runs / "cache", progress=preparing, start=start)
    folder = RunFolder(path=runs / plan.name)
    run.record["overrides"] = list(overrides)
    with _kept_or_forgotten(folder):
        is_first = _is_first_process()
        if is_first:
            folder.begin(plan)
            if start is not None:
                folder.keep_start(start)
            if plan.task == "age":
                write_split(cohort.parts, folder.split)
        hardware = hardware or Hardware()
        trainer = _build_trainer(plan, folder, run, hardware=hardware, progress=progress)
        goes_on = folder.last if folder.last.exists() else None
        with logged_to(folder.log) if is_first else nullcontext() as log:
            if log is not None:
                log.info("%s: %s", "Goes on" if goes_on else "Begins", _say_run(plan, run))
            trainer.fit(run.training, run.module, ckpt_path=goes_on, weights_only=True)
    return folder


def _say_run(recipe: Recipe, run: PlannedRun) -> str:
    record, module = run.record, run.module
    return (
        f"{recipe.name}, {recipe.architecture}, {recipe.passes} passes, "
        f"{len(module.training)} training and {len(module.validation)} validation images, "
        f"{record['parameters']['learning']} parameters that learn; on {record['hardware']}; "
        f"commit {record['commit']}; {record['command']}"
    )


def _is_first_process() -> bool:
    """Say whether this is the first of the processes that a run may have."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


@contextmanager
def _kept_or_forgotten(folder: RunFolder) -> Iterator[None]:
    """Leave nothing of a run without one whole pass, and say in words that a disk is full.

    Raises:
        UnwritableRunError: the disk does not take what the run gives.
    """
    try:
        yield
    except (PermanentError, OSError, SafetensorError) as error:
        if _is_first_process() and not folder.is_kept:
            folder.forget()
        if isinstance(error, PermanentError):
            raise
        done = folder.read_record().get("passes_done", 0) if folder.is_kept else 0
        reason = getattr(error, "strerror", None) or str(error)
        raise UnwritableRunError(path=folder.path, reason=reason, passes_done=done) from error


def _weights_named_in(recipe: Recipe) -> Path | None:
    named = recipe.warm_start or ("" if recipe.after else recipe.backbone_weights)
    return Path(named) if named else None


def _first_step(recipe: str, *, runs: Path, **where: Any) -> RunFolder:  # noqa: ANN401 - as ``train``
    """Return the finished run of a recipe; it is trained, or gone on with, where there is none."""
    folder = RunFolder(path=runs / read_recipe(recipe).name)
    if folder.is_finished:
        return folder
    begun = folder.path if folder.is_kept else recipe
    return train(begun, runs=runs, **where)


def _build_trainer(
    recipe: Recipe, folder: RunFolder, run: PlannedRun, *, hardware: Hardware, progress: bool
) -> lightning.Trainer:
    average = WarmAverage(decay=recipe.ema_decay) if recipe.ema_decay else None
    callbacks: list[Callback] = [
        *([average] if average else []),
        ModelCheckpoint(dirpath=folder.path, filename="last", enable_version_counter=False),
        KeepRecord(folder, run.record, average=average),
        LearningRateMonitor(logging_interval="epoch"),
        TrainingPictures(),
    ]
    if _is_first_process():
        callbacks.append(LogPasses())
    if recipe.device_stats:
        callbacks.append(DeviceStatsMonitor(cpu_stats=True))
    if recipe.watch.patience:
        callbacks.append(EarlyStopping(monitor=WATCHED, patience=recipe.watch.patience))
    if progress:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    curves = CSVLogger(folder.path, name=CURVES, version="")
    _go_on_with(curves, folder.path / CURVES / "metrics.csv")
    board = TensorBoardLogger(str(folder.path), name=BOARD, version="")
    board.log_hyperparams(_flat(recipe.as_dict()))
    return lightning.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        strategy=hardware.strategy,
        num_nodes=hardware.nodes,
        max_epochs=recipe.passes,
        precision=recipe.precision,  # type: ignore[arg-type]  # checked by Lightning
        gradient_clip_val=recipe.clip_gradient or None,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=[curves, board],
        default_root_dir=folder.path,
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=20,
    )


def _go_on_with(curves: CSVLogger, path: Path) -> None:
    """Keep the curves of a run that goes on: the logger deletes them when it begins to write."""
    if getattr(rank_zero_only, "rank", 0) or not path.exists():
        return
    before = path.read_text(encoding="utf-8")
    writer = curves.experiment
    path.write_text(before, encoding="utf-8")
    writer.metrics_keys = before.split("\n", maxsplit=1)[0].split(",")


def _flat(values: dict[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Return a table of tables as one, for TensorBoard's list of hyper-parameters."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, prefix=f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value) if isinstance(value, list) else value
    return flat
