"""Display values to network input, in small pure steps; the same code trains and serves.

A rule may have the hand turned upright first (``models.upright``).

The order is ``squash → find_exposed_area → to_unit_range → resize_unit_range → normalise``. The
constants come from the release (``schemas.releases.PreprocessingRule``), never from a setting.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.percentiles import percentile
from schemas.errors import UnsuitableImageError
from schemas.refusals import RefusalReason
from schemas.releases import PreprocessingRule

#: never strip more than this share of the image from one side while looking for a border
MOST_STRIPPED = 0.4

#: a range below this share of the values themselves is float32 arithmetic, not an image
ROUNDING = 1e-5

#: the rule that recipes train with unless they say otherwise
DEFAULT_RULE = PreprocessingRule(
    working_size=299,  # the release of 2017 as it is passed on today; median of its files
    clip_percent=2.0,
    border_tolerance=0.02,
    min_contrast=0.02,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """A squashed image in unit range, and what was found out on the way there."""

    unit: NDArray[np.float32]  #: ``(height, width)`` 0.0 air … 1.0 bone
    inside: NDArray[np.bool_]  #: the same shape, True where the detector was exposed
    contrast: float  #: between the clipping percentiles, as a share of the image's full range


class FlatImageError(UnsuitableImageError):
    """There is almost nothing between the darkest and the brightest part of the image."""

    def __init__(self, *, contrast: float, least: float) -> None:
        super().__init__(
            RefusalReason.POOR_CONTRAST,
            keyword="contrast between the clipping percentiles",
            found=f"{contrast:.3g}",
            expected=f"a share of the full range of at least {least:.3g}",
        )
        self.contrast = contrast


def squash(pixels: NDArray[np.generic], *, size: int) -> NDArray[np.float32]:
    """Return the image squeezed to a square, without regard to its aspect.

    The training files are squashed to 299 by 299; doing the same to a native image reproduces them
    to about 0.8 of 255 grey levels (measured on children whose native image is known), so the
    network meets in the clinic what it met in training.

    Args:
        pixels: ``(rows, columns)`` display values, bone bright, any numeric type.
        size: side of the result in pixels.

    Returns:
        ``(size, size)`` float32, same units as ``pixels``.
    """
    values = np.ascontiguousarray(pixels, dtype=np.float32)
    if values.shape == (size, size):
        return values
    squashed = cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(squashed, dtype=np.float32)


def find_exposed_area(image: NDArray[np.float32], *, tolerance: float) -> NDArray[np.bool_]:
    """Return where the detector was exposed: the image without its flat border lines.

    Lines are stripped from the four sides while their own range is at most ``tolerance`` of the
    range of the whole image. Only differences are looked at, so an inverted image gives the same
    area, and a black, grey or white border is found alike.

    Args:
        image: ``(height, width)``, any units.
        tolerance: share of the image's range.

    Returns:
        ``(height, width)`` bool, a rectangle of True; all True if hardly anything would remain.
    """
    height, width = image.shape
    flat = tolerance * float(np.ptp(image))
    top, left, bottom, right = 0, 0, height, width
    most_rows, most_columns = int(MOST_STRIPPED * height), int(MOST_STRIPPED * width)
    moved = True
    while moved:
        before = (top, left, bottom, right)
        while top < most_rows and np.ptp(image[top, left:right]) <= flat:
            top += 1
        while height - bottom < most_rows and np.ptp(image[bottom - 1, left:right]) <= flat:
            bottom -= 1
        while left < most_columns and np.ptp(image[top:bottom, left]) <= flat:
            left += 1
        while width - right < most_columns and np.ptp(image[top:bottom, right - 1]) <= flat:
            right -= 1
        moved = before != (top, left, bottom, right)
    inside = np.zeros(image.shape, dtype=np.bool_)
    inside[top:bottom, left:right] = True
    return inside


def to_unit_range(
    image: NDArray[np.float32], *, inside: NDArray[np.bool_], rule: PreprocessingRule
) -> NDArray[np.float32]:
    """Scale display values to 0.0 (air) … 1.0 (bone) by symmetric percentiles.

    Symmetric, so that an inverted image gives the inverted result; percentiles inside the exposed
    area, so that a lead marker or a white border does not change the age of a hand; not the bits
    stored, because many files use a fifth of their range.

    Args:
        image: ``(height, width)`` display values, bone bright.
        inside: ``(height, width)`` True where the detector was exposed.
        rule: the release's constants.

    Returns:
        ``(height, width)`` float32, clipped to 0.0 … 1.0.

    Raises:
        FlatImageError: less than ``rule.min_contrast`` of the full range between the percentiles.
    """
    return _exposed(image, inside, rule).unit


def _exposed(
    image: NDArray[np.float32], inside: NDArray[np.bool_], rule: PreprocessingRule
) -> Exposed:
    values = image.astype(np.float64)
    shown = values[inside]
    low, high = (percentile(shown, at) for at in (rule.clip_percent, 100 - rule.clip_percent))
    full = float(np.ptp(values))
    is_noise = full <= ROUNDING * float(np.abs(values).max())
    contrast = 0.0 if is_noise else (high - low) / full
    if contrast < rule.min_contrast or high <= low:
        raise FlatImageError(contrast=contrast, least=rule.min_contrast)
    unit: NDArray[np.float32] = np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return Exposed(unit=unit, inside=inside, contrast=contrast)


def expose(image: NDArray[np.float32], *, rule: PreprocessingRule) -> Exposed:
    """Find the exposed area and scale it to unit range.

    Args:
        image: ``(height, width)`` display values, bone bright, squashed or not.
        rule: the release's constants.

    Raises:
        FlatImageError: the image is almost uniform.
    """
    return _exposed(image, find_exposed_area(image, tolerance=rule.border_tolerance), rule)


def resize_unit_range(unit: NDArray[np.float32], *, size: int) -> NDArray[np.float32]:
    """Return the square unit-range image at a member's input size, ``(size, size)`` float32."""
    if unit.shape == (size, size):
        return unit
    resized = cv2.resize(unit, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.float32)


def normalise(unit: NDArray[np.float32], *, rule: PreprocessingRule) -> NDArray[np.float32]:
    """Return ``(unit - mean) / scale``, the range that the ImageNet weights were made with."""
    centred: NDArray[np.float32] = ((unit - rule.mean) / rule.scale).astype(np.float32)
    return centred


def to_working_image(
    pixels: NDArray[np.generic], *, rule: PreprocessingRule
) -> NDArray[np.float32]:
    """Return the unit-range working image that every member's input is made from.

    Args:
        pixels: ``(rows, columns)`` display values after modality LUT, VOI and polarity.
        rule: the release's constants.

    Returns:
        ``(working_size, working_size)`` float32, 0.0 air … 1.0 bone.

    Raises:
        FlatImageError: the image is almost uniform.
    """
    return expose(squash(pixels, size=rule.working_size), rule=rule).unit


def to_model_input(working: NDArray[np.float32], *, size: int, rule: PreprocessingRule) -> Tensor:
    """Return one member's input, ``(1, size, size)`` float32, from the working image."""
    unit = resize_unit_range(working, size=size)
    return torch.from_numpy(normalise(unit, rule=rule)).unsqueeze(0)  # (1, H, W)
