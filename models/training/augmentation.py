"""Changes of a training image that must not change the bone age.

Shift, rotation, scale and stretch stand for how the hand lay and how the image was squashed;
brightness, contrast and gamma for the curves that detectors and VOI LUTs apply; the frame for
collimation and burned-in borders.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

WIDE_ROTATION = 45.0  #: degrees; a hand laid down carelessly


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far a training image may be changed; probabilities are shares of images."""

    flip: float = 0.5
    black_margin: float = 0.5  #: share with black, not repeated, pixels beyond the edge
    rotation_degrees: float = 20.0
    wide_rotation: float = 0.1  #: share rotated by up to ``WIDE_ROTATION`` instead
    scale: float = 0.15
    stretch: float = 0.08  #: relative change of the aspect
    shift: float = 0.10
    brightness: float = 0.10
    contrast: float = 0.20
    intensity: float = 0.6  #: share with brightness and contrast changed
    gamma_from: float = 0.5
    gamma_to: float = 2.0
    gamma: float = 0.4  #: share with gamma changed
    frame: float = 0.08  #: share with a constant border
    frame_width: float = 0.12  #: widest border, share of the side


def _place(
    unit: NDArray[np.float32], options: Augmentation, random: np.random.Generator
) -> NDArray[np.float32]:
    size = unit.shape[0]
    wide = random.random() < options.wide_rotation
    degrees = WIDE_ROTATION if wide else options.rotation_degrees
    angle = np.deg2rad(random.uniform(-degrees, degrees))
    zoom = 1 + random.uniform(-options.scale, options.scale)
    stretch = 1 + random.uniform(-options.stretch, options.stretch)
    mirror = -1.0 if random.random() < options.flip else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([mirror * zoom * stretch, zoom / stretch])
    centre = np.full(2, (size - 1) / 2)
    move = random.uniform(-options.shift, options.shift, size=2) * size
    offset = centre - matrix @ centre + move
    affine = np.column_stack([matrix, offset])
    placed = cv2.warpAffine(
        unit,
        affine,
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT
        if random.random() < options.black_margin
        else cv2.BORDER_REPLICATE,
    )
    return np.asarray(placed, dtype=np.float32)


def _shade(
    unit: NDArray[np.float32], options: Augmentation, random: np.random.Generator
) -> NDArray[np.float32]:
    if random.random() < options.gamma:
        exponent = np.exp(random.uniform(np.log(options.gamma_from), np.log(options.gamma_to)))
        unit = np.power(unit, np.float32(exponent))
    if random.random() < options.intensity:
        gain = 1 + random.uniform(-options.contrast, options.contrast)
        lift = random.uniform(-options.brightness, options.brightness)
        unit = np.clip((unit - 0.5) * gain + 0.5 + lift, 0.0, 1.0)
    return unit.astype(np.float32, copy=False)


def _frame(
    unit: NDArray[np.float32], options: Augmentation, random: np.random.Generator
) -> NDArray[np.float32]:
    if random.random() >= options.frame:
        return unit
    size = unit.shape[0]
    top, bottom, left, right = (random.uniform(0, options.frame_width, size=4) * size).astype(int)
    framed = np.full_like(unit, random.choice([0.0, 0.0, 1.0, random.random()]))
    rows, columns = slice(top, size - bottom), slice(left, size - right)
    framed[rows, columns] = unit[rows, columns]
    return framed


def augment(
    unit: NDArray[np.float32], options: Augmentation, random: np.random.Generator
) -> NDArray[np.float32]:
    """Return a changed copy of a square unit-range image, 0.0 air … 1.0 bone, same size."""
    return _frame(_shade(_place(unit, options, random), options, random), options, random)
