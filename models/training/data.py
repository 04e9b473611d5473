"""The children of a run as batches: image, sex and age, at the size of each pass."""

from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from models.training.annotations import Annotation
from models.training.augmentation import Augmentation, augment, place_of_cut
from models.training.cohort import Cohort
from models.training.prepared import (
    Preparation,
    Progress,
    UnitImages,
    open_images,
    prepare_images,
)
from models.training.recipe import Recipe
from models.training.split import Part
from schemas.images import Sex

Example = tuple[Tensor, Tensor, Tensor]

#: upper edges of the age bins that balanced sampling draws from alike often, months: quarters of
#: 0 to 228, as boneAge_predict has them
AGE_BINS = (57.0, 114.0, 171.0, 1000.0)


class Radiographs(Dataset[Example]):
    """Images, sexes and ages of one part; augmented if an ``Augmentation`` is given.

    The change of an image depends on seed, pass and index alone, so a run that goes on sees what
    one that was never cut off would have seen.
    """

    def __init__(
        self,
        images: UnitImages,
        annotations: Sequence[Annotation],
        *,
        how: Preparation,
        augmentation: Augmentation | None = None,
        seed: tuple[int, int] = (0, 0),
    ) -> None:
        self._images = images
        self._annotations = annotations
        self._how = how
        self._augmentation = augmentation
        self._seed = seed  # (run, pass)

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, index: int) -> Example:
        """Return image ``(channels, size, size)``, sex ``(1,)`` and age in months ``()``."""
        one = self._annotations[index]
        if self._augmentation is None:
            unit = self._images.read(index)
        else:
            random = np.random.default_rng((*self._seed, index))
            unit = self._images.read(index, along=place_of_cut(self._augmentation, random))
            unit = augment(unit, self._augmentation, random)
        sex = torch.tensor([1.0 if one.sex is Sex.MALE else 0.0])
        return self._how.to_input(unit), sex, torch.tensor(one.age_months, dtype=torch.float32)


def select_children(recipe: Recipe, cohort: Cohort, part: Part) -> list[Annotation]:
    """Return the images of one part that a recipe trains or validates with.

    Raises:
        NoTrainingDataError: the data are not there.
    """
    chosen = cohort.select(part, folders=recipe.images.folders)
    return chosen[: recipe.images.children or None]


def balanced_weights(ages: Sequence[float]) -> list[float]:
    """Return a weight for each child, the same sum in each age bin that has any."""
    bins = np.searchsorted(AGE_BINS, ages, side="right")
    counts = np.bincount(bins, minlength=len(AGE_BINS))
    return [1.0 / counts[one] for one in bins]


def shuffled(count: int, *, seed: tuple[int, int]) -> list[int]:
    """Return the order of one pass; from ``seed``, that of the run and the pass, alone.

    A list, not a sampler: Lightning begins a sampler twice in a run that goes on, and the second
    order is another.
    """
    return torch.randperm(count, generator=_generator(seed)).tolist()


def _generator(seed: tuple[int, int]) -> torch.Generator:
    run, epoch = seed
    return torch.Generator().manual_seed(run * 1000 + epoch)


class RadiographModule(lightning.LightningDataModule):
    """Training and validation children at the size that the recipe asks for in each pass."""

    def __init__(
        self, recipe: Recipe, *, cohort: Cohort, cache: Path, progress: Progress = lambda *_: None
    ) -> None:
        super().__init__()
        self._recipe = recipe
        self._cache = cache
        self._progress = progress
        self._how = Preparation.of(recipe, cohort)
        self.training = select_children(recipe, cohort, Part.TRAIN)
        self.validation = select_children(recipe, cohort, Part.VALIDATE)

    @property
    def age_mean_months(self) -> float:
        """Mean age of the training children."""
        return float(np.mean([one.age_months for one in self.training]))

    @property
    def age_sd_months(self) -> float:
        """Standard deviation of the training children's ages; 1 where all are of one age."""
        return float(np.std([one.age_months for one in self.training])) or 1.0

    def prepare_data(self) -> None:
        """Prepare every size before the run; one process of each host does it."""
        if self._recipe.images.cache == "none":
            return
        for size in dict.fromkeys(stage.size for stage in self._recipe.stages):
            for part in (self.training, self.validation):
                prepare_images(
                    self._how, part, size=size, cache=self._cache, progress=self._progress
                )

    def _images(self, annotations: Sequence[Annotation]) -> UnitImages:
        size = self._recipe.size_at(self._epoch())
        kept = self._recipe.images.cache
        return open_images(self._how, annotations, size=size, cache=self._cache, kept=kept)

    def _epoch(self) -> int:
        return 0 if self.trainer is None else self.trainer.current_epoch

    def _order(self, epoch: int) -> list[int]:
        random = (self._recipe.seed, epoch)
        if self._recipe.images.balance == "none":
            return shuffled(len(self.training), seed=random)
        weights = balanced_weights([one.age_months for one in self.training])
        count = self._recipe.images.images_in_a_pass or len(weights)
        return list(WeightedRandomSampler(weights, count, generator=_generator(random)))

    def train_dataloader(self) -> DataLoader[Example]:
        """Return shuffled or balanced, augmented batches at this pass's size."""
        epoch = self._epoch()
        dataset = Radiographs(
            self._images(self.training),
            self.training,
            how=self._how,
            augmentation=self._recipe.augmentation,
            seed=(self._recipe.seed, epoch),
        )
        return DataLoader(
            dataset,
            batch_size=self._recipe.batch_size,
            sampler=self._order(epoch),
            drop_last=len(self.training) >= self._recipe.batch_size,
            num_workers=self._recipe.workers,
        )

    def val_dataloader(self) -> DataLoader[Example]:
        """Return the validation children at this pass's size, unchanged."""
        dataset = Radiographs(self._images(self.validation), self.validation, how=self._how)
        return DataLoader(
            dataset, batch_size=self._recipe.batch_size, num_workers=self._recipe.workers
        )
