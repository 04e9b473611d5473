"""Pictures whose label is the folder they lie in, as torchvision's ImageFolder wants them.

``DATA/train/CLASS/picture`` and ``DATA/val/CLASS/picture``, any number of classes; this is the
layout of the chest radiographs that the transfer-learning study used (NORMAL, PNEUMONIA).
"""

from collections import Counter
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.training.annotations import TrainingDataError
from models.training.archive import decode
from models.training.augmentation import Augmentation, augment, place_of_cut
from models.training.cohort import Cohort
from models.training.data import shuffled
from models.training.prepared import Preparation
from models.training.recipe import Recipe

ClassExample = tuple[Tensor, Tensor]
Labelled = tuple[Path, int]

_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
_TRAINING, _VALIDATION = "train", "val"


def find_classes(data: Path) -> tuple[str, ...]:
    """Return the names of the classes: the folders in ``DATA/train``, sorted.

    Raises:
        TrainingDataError: there are fewer than two, or the validation part has others.
    """
    names = {
        part: sorted(one.name for one in (data / part).glob("*") if one.is_dir())
        for part in (_TRAINING, _VALIDATION)
    }
    problems = []
    if len(names[_TRAINING]) < 2:  # noqa: PLR2004 - one class needs no network
        problems.append(f"{data / _TRAINING} has no two folders, one for each class")
    if set(names[_VALIDATION]) != set(names[_TRAINING]):
        problems.append(f"{data / _VALIDATION} does not have the same classes as {_TRAINING}")
    if problems:
        raise TrainingDataError(path=data, problems=problems)
    return tuple(names[_TRAINING])


def list_pictures(data: Path, part: str, classes: tuple[str, ...]) -> list[Labelled]:
    """Return path and class number of each picture, sorted.

    Raises:
        TrainingDataError: names every class without any.
    """
    labelled: list[Labelled] = []
    problems = []
    for number, name in enumerate(classes):
        paths = sorted(
            one for one in (data / part / name).glob("*") if one.suffix.lower() in _PICTURES
        )
        if not paths:
            problems.append(f"no picture in {data / part / name}")
        labelled += [(path, number) for path in paths]
    if problems:
        raise TrainingDataError(path=data, problems=problems)
    return labelled


class _Pictures(Dataset[ClassExample]):
    """Pictures and class numbers of one part."""

    def __init__(
        self,
        labelled: list[Labelled],
        *,
        how: Preparation,
        size: int,
        augmentation: Augmentation | None = None,
        seed: tuple[int, int] = (0, 0),
    ) -> None:
        self._labelled = labelled
        self._how = how
        self._size = size
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        return len(self._labelled)

    def __getitem__(self, index: int) -> ClassExample:
        """Return image ``(channels, size, size)`` and class number ``()``."""
        path, label = self._labelled[index]
        stored = decode(path.read_bytes(), path=path)
        if self._augmentation is None:
            unit = self._how.unit(stored, path.name, size=self._size)
        else:
            random = np.random.default_rng((*self._seed, index))
            along = place_of_cut(self._augmentation, random)
            unit = self._how.unit(stored, path.name, size=self._size, along=along)
            unit = augment(unit, self._augmentation, random)
        return self._how.to_input(unit), torch.tensor(label)


class ClassModule(lightning.LightningDataModule):
    """Training and validation pictures at the size that the recipe asks for in each pass."""

    def __init__(self, recipe: Recipe, *, data: Path) -> None:
        super().__init__()
        self._recipe = recipe
        self.classes = find_classes(data)
        self.training = self._some(list_pictures(data, _TRAINING, self.classes))
        self.validation = self._some(list_pictures(data, _VALIDATION, self.classes))
        self._how = Preparation.of(recipe, Cohort(data=data))

    def _some(self, labelled: list[Labelled]) -> list[Labelled]:
        """Return at most so many as the recipe says, of all classes alike."""
        most = self._recipe.images.children
        if not most or len(labelled) <= most:
            return labelled
        order = np.random.default_rng(self._recipe.seed).permutation(len(labelled))[:most]
        return [labelled[index] for index in sorted(order)]

    @property
    def class_weights(self) -> Tensor:
        """Weights that make each class count alike, mean 1; ``(classes,)``."""
        counts = Counter(label for _path, label in self.training)
        weights = [1.0 / max(counts[number], 1) for number in range(len(self.classes))]
        return torch.tensor(weights) * (len(weights) / sum(weights))

    def _loader(self, labelled: list[Labelled], *, is_training: bool) -> DataLoader[ClassExample]:
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        seed = (self._recipe.seed, epoch)
        dataset = _Pictures(
            labelled,
            how=self._how,
            size=self._recipe.size_at(epoch),
            augmentation=self._recipe.augmentation if is_training else None,
            seed=seed,
        )
        return DataLoader(
            dataset,
            batch_size=self._recipe.batch_size,
            sampler=shuffled(len(labelled), seed=seed) if is_training else None,
            drop_last=is_training and len(labelled) >= self._recipe.batch_size,
            num_workers=self._recipe.workers,
        )

    def train_dataloader(self) -> DataLoader[ClassExample]:
        """Return shuffled, augmented batches."""
        return self._loader(self.training, is_training=True)

    def val_dataloader(self) -> DataLoader[ClassExample]:
        """Return the validation pictures, unchanged."""
        return self._loader(self.validation, is_training=False)
