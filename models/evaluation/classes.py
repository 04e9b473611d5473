"""How well a run tells classes apart: accuracy, F1, AUROC, confusion matrix, every answer."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from models.evaluation.answers import BATCH, Progress
from models.evaluation.page import embedded, template
from models.evaluation.statistics import Curve, trace_curve
from models.networks.classifier import ClassNetwork
from models.networks.timm_backbone import BackboneShape
from models.training.archive import decode
from models.training.class_folders import list_pictures
from models.training.cohort import Cohort
from models.training.prepared import Preparation
from models.training.recipe_file import read_recipe
from models.training.run_folder import RunFolder

#: the first of these folders that is there is read
PARTS = ("test", "val")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """How one class is told from the others."""

    name: str
    n: int
    precision: float  #: of what was called so, the share that is so
    recall: float  #: of what is so, the share that was called so
    f1: float
    auroc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    """What a run said about pictures whose class is known."""

    target: str
    part: str
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]  #: ``(picture,)``
    probabilities: NDArray[np.float64]  #: ``(picture, class)``
    accuracy: float
    rows: tuple[ClassRow, ...]
    curves: tuple[Curve, ...]
    confusion: tuple[tuple[int, ...], ...]  #: what it is, what it was called

    @property
    def said(self) -> NDArray[np.int64]:
        """The likeliest class of each picture, ``(picture,)``."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)


def is_class_run(target: str | Path) -> bool:
    """Say whether this is the folder of a run that tells classes apart."""
    return "classes" in RunFolder(path=Path(target)).read_record()


def _network(folder: RunFolder, classes: int) -> ClassNetwork:
    recipe = read_recipe(folder.recipe)
    shape = BackboneShape(
        architecture=recipe.architecture, channels=recipe.channels, drop_path=recipe.drop_path
    )
    network = ClassNetwork(shape, classes=classes, dropout=recipe.dropout)
    network.load_state_dict(load_file(folder.weights))
    return network.eval()


def _probabilities(
    folder: RunFolder, paths: Sequence[Path], data: Path, progress: Progress
) -> NDArray[np.float64]:
    """Return what the run says to each picture, ``(picture, class)``."""
    record, recipe = folder.read_record(), read_recipe(folder.recipe)
    network = _network(folder, len(record["classes"]))
    how, size = Preparation.of(recipe, Cohort(data=data)), int(record["input_size"])
    said = []
    for first in range(0, len(paths), BATCH):
        some = paths[first : first + BATCH]
        inputs = [
            how.to_input(how.unit(decode(one.read_bytes(), path=one), one.name, size=size))
            for one in some
        ]
        batch = torch.stack(inputs)
        if batch.shape[1] != recipe.channels:
            batch = batch.expand(-1, recipe.channels, -1, -1)
        with torch.no_grad():
            said.append(network(batch).softmax(dim=1).double().numpy())
        progress("pictures", first + len(some), len(paths))
    return np.concatenate(said)


def _row(name: str, confusion: NDArray[np.int64], number: int, auroc: float) -> ClassRow:
    hits = int(confusion[number, number])
    called, is_so = int(confusion[:, number].sum()), int(confusion[number].sum())
    return ClassRow(
        name=name,
        n=is_so,
        precision=round(hits / max(called, 1), 4),
        recall=round(hits / max(is_so, 1), 4),
        f1=round(2 * hits / max(called + is_so, 1), 4),
        auroc=round(auroc, 4),
    )


def report_classes(
    target: str, *, data: Path | None, limit: int, progress: Progress
) -> ClassReport:
    """Ask a run about the pictures of DATA/test, or of DATA/val where there is no such folder.

    Args:
        target: folder of the run.
        data: its data folder; None: that which it was trained with.
        limit: at most so many pictures, spread over all classes; 0: all.
        progress: told how far it is.

    Raises:
        TrainingDataError: a class has no pictures.
    """
    folder = RunFolder(path=Path(target))
    record = folder.read_record()
    place, classes = data or Path(record["data"]), tuple(record["classes"])
    part = next((one for one in PARTS if (place / one).is_dir()), PARTS[-1])
    labelled = list_pictures(place, part, classes)
    if limit:
        labelled = labelled[:: max(1, round(len(labelled) / limit))]
    paths, labels = [path for path, _ in labelled], np.array([label for _, label in labelled])
    probabilities = _probabilities(folder, paths, place, progress)
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    curves = [
        trace_curve(name, probabilities[:, number], labels == number)
        for number, name in enumerate(classes)
    ]
    return ClassReport(
        target=target,
        part=part,
        classes=classes,
        paths=tuple(paths),
        labels=labels,
        probabilities=probabilities,
        accuracy=round(float(np.mean(probabilities.argmax(axis=1) == labels)), 4),
        rows=tuple(
            _row(name, confusion, number, curves[number].auroc)
            for number, name in enumerate(classes)
        ),
        curves=tuple(curves),
        confusion=tuple(tuple(int(one) for one in row) for row in confusion),
    )


def as_plain(report: ClassReport) -> dict[str, Any]:
    """Return all figures as plain values, for JSON."""
    return {
        "target": report.target,
        "part": report.part,
        "n": len(report.paths),
        "accuracy": report.accuracy,
        "classes": [asdict(row) for row in report.rows],
        "confusion": [list(row) for row in report.confusion],
    }


def write_report(report: ClassReport, drawn: dict[str, bytes], out: Path) -> list[Path]:
    """Write page, JSON, CSV of every answer and the pictures; return the files."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "evaluation.html", out / "evaluation.json", out / "predictions.csv"]
    page = template("classes.html").render(
        report=report, pictures=embedded(drawn), number=len(report.paths)
    )
    paths[0].write_text(page, encoding="utf-8")
    paths[1].write_text(json.dumps(as_plain(report), indent=1) + "\n", encoding="utf-8")
    with paths[2].open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["picture", "class", "said", *report.classes])
        for index, path in enumerate(report.paths):
            label, said = report.labels[index], report.said[index]
            shares = (f"{one:.4f}" for one in report.probabilities[index])
            writer.writerow([path, report.classes[label], report.classes[said], *shares])
    for name, picture in drawn.items():
        paths.append(out / f"{name}.png")
        paths[-1].write_bytes(picture)
    return paths
