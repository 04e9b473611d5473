"""Pictures of a data set and of a run in training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import matplotlib as mpl
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.training.annotations import Annotation
from models.training.archive import RadiographArchive, decode
from models.training.class_folders import find_classes, list_pictures
from models.training.module import AgeTraining
from schemas.images import Sex

mpl.use("Agg")

_COLOURS = {Sex.FEMALE: "#b5476b", Sex.MALE: "#3b6ea8"}
_NAMES = {Sex.FEMALE: "girls", Sex.MALE: "boys"}
_YEAR = 12
#: images whose size is read for the picture of sizes; more do not change it
_SIZED = 400
_GRID = 4
#: passes after which estimates are drawn against labels, and every tenth
_EARLY = (1, 2, 3, 5)


def draw_dataset(
    annotations: Sequence[Annotation], archive: RadiographArchive, folder: Path
) -> list[Path]:
    """Write ages by sex, numbers by sex, image sizes and a grid of samples as PNG files.

    Args:
        annotations: the labelled images to draw; at least one.
        archive: reads them.
        folder: where the pictures go; made if it is not there.

    Returns:
        The files, in the order named.

    Raises:
        NoTrainingDataError: an image is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = _spread(annotations, _SIZED)
    sizes = [archive.read(folder=one.folder, image_id=one.image_id).shape for one in chosen]
    drawn = {
        "ages.png": _draw_ages(annotations),
        "sexes.png": _draw_sexes(annotations),
        "sizes.png": _draw_sizes(sizes),
        "samples.png": _draw_samples(annotations, archive),
    }
    paths = []
    for name, figure in drawn.items():
        figure.savefig(folder / name, dpi=120)
        paths.append(folder / name)
    return paths


def describe_dataset(
    annotations: Sequence[Annotation], archive: RadiographArchive
) -> dict[str, float]:
    """Return numbers, ages (months), sizes (pixels) and grey levels (share of white) of images.

    Sizes and grey levels are those of some of them, evenly over the ages.

    Raises:
        NoTrainingDataError: an image is not there.
    """
    ages = {sex: [one.age_months for one in annotations if one.sex is sex] for sex in Sex}
    chosen = _spread(annotations, _SIZED)
    pictures = [archive.read(folder=one.folder, image_id=one.image_id) for one in chosen]
    told: dict[str, float] = {"images": len(annotations)}
    every = [one.age_months for one in annotations]
    for name, months in (("all", every), *((_NAMES[sex], ages[sex]) for sex in Sex)):
        if months:
            told |= {
                f"{name}, mean age": round(float(np.mean(months)), 2),
                f"{name}, standard deviation": round(float(np.std(months)), 2),
            }
    return {**told, **_describe_pictures(pictures)}


def _describe_pictures(pictures: Sequence[NDArray[Any]]) -> dict[str, float]:
    units = [one / np.iinfo(one.dtype).max for one in pictures]
    told: dict[str, float] = {}
    for axis, name in ((0, "rows"), (1, "columns")):
        sides = [one.shape[axis] for one in pictures]
        told |= {f"least {name}": min(sides), f"median {name}": float(np.median(sides))}
        told[f"most {name}"] = max(sides)
    told["mean grey"] = round(float(np.mean([one.mean() for one in units])), 4)
    told["standard deviation of grey"] = round(
        float(np.sqrt(np.mean([one.var() for one in units]))), 4
    )
    return told


def draw_classes(data: Path, folder: Path) -> tuple[list[Path], dict[str, float]]:
    """Draw pictures that lie in folders of classes: numbers, sizes, samples; and return figures.

    Raises:
        TrainingDataError: there are no such folders, or a picture cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes = find_classes(data)
    parts = {part: list_pictures(data, part, classes) for part in ("train", "val")}
    training = parts["train"]
    places = np.linspace(0, len(training) - 1, min(_SIZED, len(training))).astype(int)
    chosen = [training[place] for place in places]
    pictures = [decode(path.read_bytes(), path=path) for path, _label in chosen]
    told: dict[str, float] = {}
    figure, axes = _axes(f"Pictures in {data.name}")
    for shift, (part, labelled) in zip((-0.2, 0.2), parts.items(), strict=True):
        counts = [sum(label == one for _path, label in labelled) for one in range(len(classes))]
        told |= {f"{part}, {name}": n for name, n in zip(classes, counts, strict=True)}
        bars = axes.bar([one + shift for one in range(len(classes))], counts, 0.38, label=part)
        axes.bar_label(bars)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_ylabel("pictures")
    axes.legend()
    step = max(1, len(chosen) // _GRID**2)
    shown = [
        (picture, classes[label])
        for picture, (_path, label) in zip(pictures[::step], chosen[::step], strict=True)
    ]
    drawn = {
        "classes.png": figure,
        "sizes.png": _draw_sizes([one.shape for one in pictures]),
        "samples.png": _draw_grid(shown[: _GRID**2]),
    }
    for name, one in drawn.items():
        one.savefig(folder / name, dpi=120)
    return [folder / name for name in drawn], {**told, **_describe_pictures(pictures)}


def _spread(annotations: Sequence[Annotation], count: int) -> list[Annotation]:
    """Return so many of them, evenly over the order of age."""
    ordered = sorted(annotations, key=lambda one: one.age_months)
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).astype(int)
    return [ordered[place] for place in places]


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _draw_ages(annotations: Sequence[Annotation]) -> Figure:
    figure, axes = _axes(f"Bone age of {len(annotations)} images")
    groups = [[one.age_months / _YEAR for one in annotations if one.sex is sex] for sex in Sex]
    axes.hist(
        groups,
        bins=[float(year) for year in range(21)],
        stacked=True,
        color=[_COLOURS[sex] for sex in Sex],
        label=[_NAMES[sex] for sex in Sex],
    )
    axes.set_xlabel("years")
    axes.set_ylabel("images")
    axes.legend()
    return figure


def _draw_sexes(annotations: Sequence[Annotation]) -> Figure:
    figure, axes = _axes("Images by sex")
    counts = [sum(one.sex is sex for one in annotations) for sex in Sex]
    bars = axes.bar([_NAMES[sex] for sex in Sex], counts, color=[_COLOURS[sex] for sex in Sex])
    axes.bar_label(bars)
    axes.set_ylabel("images")
    return figure


def _draw_sizes(sizes: Sequence[tuple[int, ...]]) -> Figure:
    figure, axes = _axes(f"Sizes of {len(sizes)} images")
    axes.scatter([one[1] for one in sizes], [one[0] for one in sizes], s=12, alpha=0.4)
    axes.set_xlabel("columns")
    axes.set_ylabel("rows")
    return figure


def _draw_samples(annotations: Sequence[Annotation], archive: RadiographArchive) -> Figure:
    return _draw_grid(
        [
            (
                archive.read(folder=one.folder, image_id=one.image_id),
                f"{one.sex.value}, {one.age_months:.0f} months",
            )
            for one in _spread(annotations, _GRID**2)
        ]
    )


def _draw_grid(pictures: Sequence[tuple[NDArray[Any], str]]) -> Figure:
    figure = Figure(figsize=(8, 8), layout="constrained")
    cells = figure.subplots(_GRID, _GRID, squeeze=False).ravel()
    for axes in cells:
        axes.axis("off")
    for axes, (picture, words) in zip(cells, pictures, strict=False):
        axes.imshow(picture, cmap="gray")
        axes.set_title(words, fontsize=9)
    return figure


def draw_estimates(pairs: Sequence[tuple[float, float]]) -> Figure:
    """Return estimates against labels; ``pairs`` are label and estimate in months."""
    figure, axes = _axes(f"{len(pairs)} validation children")
    told, said = zip(*pairs, strict=True)
    axes.scatter(told, said, s=12, alpha=0.4)
    axes.plot([0, 240], [0, 240], color="grey", linewidth=1)
    axes.set_xlabel("label, months")
    axes.set_ylabel("estimate, months")
    return figure


class TrainingPictures(lightning.Callback):
    """Some of the first batch, and now and then estimates against labels, for TensorBoard."""

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Sequence[torch.Tensor],
        batch_idx: int,
    ) -> None:
        """Show what the network is given, augmented as it is, once in a run."""
        del pl_module
        logger = _tensorboard(trainer)
        if logger is None or batch_idx or trainer.current_epoch:
            return
        images = batch[0][: _GRID**2, :1].float().cpu()
        low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
        shown = (images - low) / (high - low).clamp_min(1e-6)
        logger.experiment.add_images("batch", shown, 0)

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Draw what was said in the validation of this pass."""
        logger, done = _tensorboard(trainer), trainer.current_epoch + 1
        if logger is None or not isinstance(pl_module, AgeTraining) or not pl_module.said:
            return
        if done in _EARLY or done % 10 == 0:
            logger.experiment.add_figure("estimates", draw_estimates(pl_module.said), done)


def _tensorboard(trainer: lightning.Trainer) -> TensorBoardLogger | None:
    if not trainer.is_global_zero:
        return None
    return next((one for one in trainer.loggers if isinstance(one, TensorBoardLogger)), None)
