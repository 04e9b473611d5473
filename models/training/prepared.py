"""Radiographs prepared by the serving code: once for each size, kept on disk, or made anew.

Kept is the square picture before the last, linear step, so that a change of tone or place can come
in between: 0.0 to 1.0 as float16 for our own rule, grey levels as uint8 for a rule of a member.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.foreign_preprocessing import MIDDLE, Grey, grey_levels, prepare_square, scale
from models.release.importing.bone_age_convnext import read_reference_histogram
from models.training.annotations import Annotation, TrainingDataError
from models.training.archive import StoredImage, UnreadableImageError
from models.training.cohort import Cohort
from models.training.fourier import spectrum
from models.training.recipe import Recipe
from models.transforms import (
    DEFAULT_RULE,
    FlatImageError,
    normalise,
    resize_unit_range,
    to_working_image,
)
from models.upright import turn_upright
from schemas.releases import MemberPreprocessing, PreprocessingRule

#: told how many images are done, and how many there are
Progress = Callable[[int, int], None]

_WHITE = 255
_SIXTEEN_TO_EIGHT_BITS = 257


class UnitImages(Protocol):
    """Square pictures from 0.0 to 1.0, by their number."""

    def read(self, index: int, *, along: float = MIDDLE) -> NDArray[np.float32]:
        """Return ``(size, size)``; ``along``: as in ``frame_square``."""
        ...


def preprocessing_of(recipe: Recipe) -> MemberPreprocessing | None:
    """Return the member's own rule, with the histogram of the reference image in it."""
    if recipe.preprocessing is None or not recipe.images.reference_image:
        return recipe.preprocessing
    histogram = read_reference_histogram(Path(recipe.images.reference_image))
    return recipe.preprocessing.model_copy(update={"reference_histogram": histogram})


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How the stored images of a cohort become square pictures, and those a network's input."""

    cohort: Cohort
    rule: PreprocessingRule = DEFAULT_RULE  #: of a release
    member_rule: MemberPreprocessing | None = None  #: wins over ``rule``
    seed: int = 0  #: chooses between several masks of an image
    header_range: bool = False  #: the range of the bits stored, not of the values
    fourier: Literal["none", "magnitude", "parts"] = "none"

    @classmethod
    def of(cls, recipe: Recipe, cohort: Cohort) -> "Preparation":
        """Return what a recipe asks for."""
        return cls(
            cohort=cohort,
            rule=recipe.rule,
            member_rule=preprocessing_of(recipe),
            seed=recipe.seed,
            header_range=recipe.images.range == "header",
            fourier=recipe.images.fourier,
        )

    def unit(
        self, stored: StoredImage, image_id: str, *, size: int, along: float = MIDDLE
    ) -> NDArray[np.float32]:
        """Return one picture, ``(size, size)`` 0.0 to 1.0; ``along``: as in ``frame_square``."""
        if self.member_rule is None:
            pixels = np.asarray(stored, dtype=np.float32)
            if self.rule.upright:
                pixels = turn_upright(pixels, rule=self.rule).pixels
            return resize_unit_range(to_working_image(pixels, rule=self.rule), size=size)
        hand = None
        if self.member_rule.use_mask:
            # which of several masks is taken follows from seed and image, so a run can be repeated
            choice = int(hashlib.sha256(f"{self.seed}:{image_id}".encode()).hexdigest(), 16)
            hand = self.cohort.open_masks().read(image_id, choice=choice)
        grey = self._grey(stored)
        square, _frame = prepare_square(
            grey, hand=hand, rule=self.member_rule, size=size, along=along
        )
        unit: NDArray[np.float32] = np.clip(square / np.float32(_WHITE), 0.0, 1.0)
        return unit

    def _grey(self, stored: StoredImage) -> Grey:
        if self.header_range and stored.dtype == np.uint16:
            return np.asarray(stored // _SIXTEEN_TO_EIGHT_BITS, dtype=np.uint8)
        return grey_levels(np.asarray(stored, dtype=np.float32))

    def to_input(self, unit: NDArray[np.float32]) -> Tensor:
        """Return the network's input, ``(channels, size, size)``, from a picture of 0.0 to 1.0."""
        if self.member_rule is None:
            values = normalise(unit, rule=self.rule)
        else:
            values = scale(unit * np.float32(_WHITE), self.member_rule.scaling)
        if self.fourier != "none":
            return torch.from_numpy(spectrum(values, kind=self.fourier))
        return torch.from_numpy(values).unsqueeze(0)

    def key(self, annotations: Sequence[Annotation], *, size: int) -> str:
        """Return what decides the prepared pictures, as sixteen hexadecimal digits."""
        rule = self.rule if self.member_rule is None else self.member_rule
        names = [f"{one.folder}/{one.image_id}" for one in annotations]
        masks = [f"{path.resolve()} {self.seed}" for path in self.cohort.masks]
        facts = [str(self.cohort.data.resolve()), str(size), rule.model_dump_json()]
        text = "\n".join([*facts, str(self.header_range), *masks, *names])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Decoded:
    """Pictures that are made each time they are asked for."""

    def __init__(self, how: Preparation, annotations: Sequence[Annotation], *, size: int) -> None:
        self.how = how
        self._annotations = annotations
        self._size = size
        self._archive = how.cohort.open_archive()

    def __len__(self) -> int:
        return len(self._annotations)

    def name(self, index: int) -> str:
        """Return folder and file of one of them."""
        return f"{self._annotations[index].folder}/{self._annotations[index].image_id}"

    def read(self, index: int, *, along: float = MIDDLE) -> NDArray[np.float32]:
        one = self._annotations[index]
        stored = self._archive.read(folder=one.folder, image_id=one.image_id)
        return self.how.unit(stored, one.image_id, size=self._size, along=along)


class _Kept:
    """Pictures that were prepared: mapped from disk, or in memory."""

    def __init__(self, images: NDArray[np.generic]) -> None:
        self._images = images

    def read(self, index: int, *, along: float = MIDDLE) -> NDArray[np.float32]:
        del along  # they were cut when they were prepared; no recipe asks for both
        image = np.asarray(self._images[index], dtype=np.float32)
        return image / np.float32(_WHITE) if self._images.dtype == np.uint8 else image


def cache_path(
    how: Preparation, annotations: Sequence[Annotation], *, size: int, cache: Path
) -> Path:
    """Return where prepared pictures of this kind are kept."""
    return cache / f"unit-{size}-{how.key(annotations, size=size)}.npy"


def prepare_images(
    how: Preparation,
    annotations: Sequence[Annotation],
    *,
    size: int,
    cache: Path,
    progress: Progress = lambda *_: None,
) -> NDArray[np.generic]:
    """Return all pictures at one size, made on the first call, mapped after that.

    Returns:
        ``(image, size, size)``, memory-mapped, read-only: float16 from 0.0 to 1.0 for our own rule,
        uint8 grey levels for a rule of a member.

    Raises:
        TrainingDataError: names every file that is no picture or shows nothing; none is kept.
    """
    path = cache_path(how, annotations, size=size, cache=cache)
    if not path.exists():
        _write_images(path, _Decoded(how, annotations, size=size), size=size, progress=progress)
    prepared: NDArray[np.generic] = np.load(path, mmap_mode="r")
    return prepared


def _write_images(path: Path, decoded: _Decoded, *, size: int, progress: Progress) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.part")  # hosts may share the folder
    is_unit = decoded.how.member_rule is None
    shape = (len(decoded), size, size)
    depth = np.float16 if is_unit else np.uint8
    kept = np.lib.format.open_memmap(beside, mode="w+", dtype=depth, shape=shape)
    problems = []
    for index in range(len(decoded)):
        try:
            unit = decoded.read(index)
        except UnreadableImageError as error:
            problems.append(f"no picture, or cut off: {error.path}")
            continue
        except FlatImageError as error:
            problems.append(f"almost uniform ({error.detail}): {decoded.name(index)}")
            continue
        kept[index] = unit if is_unit else np.rint(unit * _WHITE)
        progress(index + 1, len(decoded))
    if problems:
        beside.unlink()
        raise TrainingDataError(path=decoded.how.cohort.data, problems=problems)
    kept.flush()
    beside.replace(path)


def open_images(
    how: Preparation,
    annotations: Sequence[Annotation],
    *,
    size: int,
    cache: Path,
    kept: Literal["disk", "memory", "none"],
) -> UnitImages:
    """Return the pictures of some images at one size, kept as the recipe says."""
    if kept == "none":
        return _Decoded(how, annotations, size=size)
    images = prepare_images(how, annotations, size=size, cache=cache)
    return _Kept(np.array(images) if kept == "memory" else images)
