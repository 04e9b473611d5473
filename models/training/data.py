"""Radiographs as tensors: prepared once for each size by the serving code, kept on disk."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.training.annotations import Annotation
from models.training.augmentation import Augmentation, augment
from models.training.cohort import Cohort
from models.training.recipe import Recipe
from models.training.split import Part
from models.transforms import normalise, resize_unit_range, to_working_image
from schemas.images import Sex
from schemas.releases import PreprocessingRule

Example = tuple[Tensor, Tensor, Tensor]


def _cache_path(
    cache: Path, annotations: Sequence[Annotation], size: int, rule: PreprocessingRule
) -> Path:
    names = "\n".join(f"{one.folder}/{one.image_id}" for one in annotations)
    key = hashlib.sha256(f"{size}\n{rule.model_dump_json()}\n{names}".encode()).hexdigest()[:16]
    return cache / f"unit-{size}-{key}.npy"


def prepare_images(
    cohort: Cohort,
    annotations: Sequence[Annotation],
    *,
    size: int,
    rule: PreprocessingRule,
    cache: Path,
) -> NDArray[np.float16]:
    """Return all images at one size, decoded and scaled on the first call, mapped after that.

    Returns:
        ``(image, size, size)`` float16, 0.0 air … 1.0 bone, memory-mapped, read-only.
    """
    path = _cache_path(cache, annotations, size, rule)
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        if size == rule.working_size:
            _write_images(path, _decode(cohort, annotations, rule), len(annotations), size)
        else:
            working = prepare_images(
                cohort, annotations, size=rule.working_size, rule=rule, cache=cache
            )
            resized = (resize_unit_range(one.astype(np.float32), size=size) for one in working)
            _write_images(path, resized, len(annotations), size)
    prepared: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return prepared


def _decode(
    cohort: Cohort, annotations: Sequence[Annotation], rule: PreprocessingRule
) -> Iterator[NDArray[np.float32]]:
    archive = cohort.open_archive()
    for one in annotations:
        pixels = archive.read(folder=one.folder, image_id=one.image_id)
        yield to_working_image(pixels, rule=rule)


def _write_images(path: Path, images: Iterable[NDArray[np.float32]], count: int, size: int) -> None:
    beside = path.with_suffix(".part")
    shape = (count, size, size)
    kept = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float16, shape=shape)
    for index, image in enumerate(images):
        kept[index] = image
    kept.flush()
    beside.rename(path)


class Radiographs(Dataset[Example]):
    """Images, sexes and ages of one part; augmented if an ``Augmentation`` is given.

    The change of an image depends on seed, pass and index alone, so a resumed run sees what the
    uninterrupted one would have seen.
    """

    def __init__(
        self,
        images: NDArray[np.float16],
        annotations: Sequence[Annotation],
        *,
        rule: PreprocessingRule,
        augmentation: Augmentation | None = None,
        seed: tuple[int, int] = (0, 0),
    ) -> None:
        self._images = images
        self._annotations = annotations
        self._rule = rule
        self._augmentation = augmentation
        self._seed = seed  # (run, pass)

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, index: int) -> Example:
        """Return image ``(1, size, size)``, sex ``(1,)`` and age in months ``()``."""
        one = self._annotations[index]
        unit = np.asarray(self._images[index], dtype=np.float32)
        if self._augmentation is not None:
            random = np.random.default_rng((*self._seed, index))
            unit = augment(unit, self._augmentation, random)
        image = torch.from_numpy(normalise(unit, rule=self._rule)).unsqueeze(0)
        sex = torch.tensor([1.0 if one.sex is Sex.MALE else 0.0])
        return image, sex, torch.tensor(one.age_months, dtype=torch.float32)


class RadiographModule(lightning.LightningDataModule):
    """Training and validation children at the size that the recipe asks for in each pass."""

    def __init__(
        self, recipe: Recipe, *, cohort: Cohort, cache: Path, rule: PreprocessingRule
    ) -> None:
        super().__init__()
        self._recipe = recipe
        self._cohort = cohort
        self._cache = cache
        self._rule = rule
        self.training = cohort.select(Part.TRAIN)
        self.validation = cohort.select(Part.VALIDATE)

    @property
    def age_mean_months(self) -> float:
        """Mean age of the training children."""
        return float(np.mean([one.age_months for one in self.training]))

    @property
    def age_sd_months(self) -> float:
        """Standard deviation of the training children's ages."""
        return float(np.std([one.age_months for one in self.training]))

    @property
    def steps_in_a_pass(self) -> int:
        """Optimiser steps in one pass; an incomplete last batch is left out."""
        return len(self.training) // self._recipe.batch_size

    def _images(self, annotations: Sequence[Annotation], size: int) -> NDArray[np.float16]:
        return prepare_images(
            self._cohort, annotations, size=size, rule=self._rule, cache=self._cache
        )

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch

    def train_dataloader(self) -> DataLoader[Example]:
        """Return shuffled, augmented batches at this pass's size."""
        epoch = self._epoch()
        dataset = Radiographs(
            self._images(self.training, self._recipe.size_at(epoch)),
            self.training,
            rule=self._rule,
            augmentation=self._recipe.augmentation,
            seed=(self._recipe.seed, epoch),
        )
        order = torch.Generator().manual_seed(self._recipe.seed * 1000 + epoch)
        return DataLoader(
            dataset,
            batch_size=self._recipe.batch_size,
            shuffle=True,
            generator=order,
            drop_last=True,
            num_workers=self._recipe.workers,
        )

    def val_dataloader(self) -> DataLoader[Example]:
        """Return the validation children at this pass's size, unchanged."""
        dataset = Radiographs(
            self._images(self.validation, self._recipe.size_at(self._epoch())),
            self.validation,
            rule=self._rule,
        )
        return DataLoader(dataset, batch_size=self._recipe.batch_size)
