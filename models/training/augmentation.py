"""Changes of a training image that must not change the bone age.

Shift, rotation, scale, stretch and shear stand for how the hand lay and how the image was
squashed; brightness, contrast, gamma, sharpening and local equalisation for the curves that
detectors and VOI LUTs apply; the frame for collimation and burned-in borders.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.foreign_preprocessing import MIDDLE

WIDE_ROTATION = 45.0  #: degrees; a hand laid down carelessly
_WHITE = 255.0

Unit = NDArray[np.float32]  #: ``(size, size)`` 0.0 air … 1.0 bone

#: UniformAugment's operations and the range that the magnitude of each is drawn from
#: (Lingchen et al. 2020, arXiv 2003.14348, as boneAge_predict set it up: shares and degrees)
_UNIFORM = {
    "shear_x": 0.3,
    "shear_y": 0.3,
    "shift_x": 0.45,
    "shift_y": 0.45,
    "rotate": 30.0,
    "flip": 1.0,
}


class Augmentation(BaseModel):
    """How far a training image may be changed; probabilities are shares of images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: the square of framing "centre" is cut at any place of the longer side, not in the middle
    random_crop: bool = False
    placed: float = Field(default=1.0, ge=0, le=1)  #: share that is moved at all
    flip: float = 0.5
    black_margin: float = 0.5  #: share with black, not repeated, pixels beyond the edge
    rotation_degrees: float = 20.0
    one_sided: bool = False  #: turned in one direction alone
    wide_rotation: float = 0.1  #: share rotated by up to ``WIDE_ROTATION`` instead
    scale_from: float = 0.85
    scale_to: float = 1.15
    stretch: float = 0.08  #: relative change of the aspect
    shear_degrees: float = 0.0
    shift: float = 0.10
    shrink: float = 0.0  #: share with a black margin of a twelfth of the result on each side
    field: float = (
        0.0  #: share shown on a wider field instead: turned with its corners, or bordered
    )
    field_degrees: float = 25.0  #: turned by at most
    field_border: float = 0.25  #: widest border, share of the shorter side
    brightness: float = 0.10
    contrast: float = 0.20
    intensity: float = 0.6  #: share with brightness and contrast changed
    gamma_from: float = 0.5
    gamma_to: float = 2.0
    gamma: float = 0.4  #: share with gamma changed
    window: float = 0.0  #: share shown through a narrower window, instead of a change of gamma
    clahe: float = 0.0  #: share equalised on 8 by 8 tiles, instead of a change of gamma
    clahe_clip: float = 3.0
    sharpen: float = 0.0  #: share sharpened
    frame: float = 0.08  #: share with a constant border
    frame_width: float = 0.12  #: widest border, share of the side
    uniform_operations: int = 0  #: of UniformAugment, drawn for each image


_SHRUNK = 10 / 12  #: boneAge_predict pads 500 pixels by 50 on each side
#: width over height of a radiograph before it was squashed: most of the native images
_NARROWEST, _BROADEST = 0.7, 1.0
_TURNED = 0.6  #: share of wider fields that hold a turned image; the others have a border
#: of a narrower window: how far up its lower and how far down its upper end may lie, shares of the
#: range; the share of windows that are sigmoid, and those' width beside that of the linear one
_LOWER_END, _UPPER_END = 0.35, 0.2
_SIGMOID, _SIGMOID_WIDTH = 0.5, (0.5, 1.0)


def place_of_cut(options: Augmentation, random: np.random.Generator) -> float:
    """Return where a square is cut from an image that is none, from 0 (top or left) to 1."""
    return random.random() if options.random_crop else MIDDLE


def augment(unit: Unit, options: Augmentation, random: np.random.Generator) -> Unit:
    """Return a changed copy of a square unit-range image, 0.0 air … 1.0 bone, same size."""
    is_wider = bool(options.field) and random.random() < options.field
    place = _show_on_wider_field if is_wider else _place
    changed = place(unit, options, random)
    for _ in range(options.uniform_operations):
        changed = _uniform_operation(changed, random)
    return _frame(_sharpen(_shade(changed, options, random), options, random), options, random)


def _place(unit: Unit, options: Augmentation, random: np.random.Generator) -> Unit:
    if random.random() >= options.placed:
        return unit
    wide = random.random() < options.wide_rotation
    degrees = WIDE_ROTATION if wide else options.rotation_degrees
    angle = np.deg2rad(random.uniform(0.0 if options.one_sided else -degrees, degrees))
    zoom = random.uniform(options.scale_from, options.scale_to)
    if options.shrink and random.random() < options.shrink:
        zoom *= _SHRUNK
    stretch = 1 + random.uniform(-options.stretch, options.stretch)
    slant = np.tan(np.deg2rad(random.uniform(-options.shear_degrees, options.shear_degrees)))
    mirror = -1.0 if random.random() < options.flip else 1.0
    turn = _turn(angle)
    shear = np.array([[1.0, slant], [0.0, 1.0]])
    matrix = turn @ shear @ np.diag([mirror * zoom * stretch, zoom / stretch])
    move = random.uniform(-options.shift, options.shift, size=2) * unit.shape[0]
    black = random.random() < options.black_margin
    return _warped(unit, matrix, move=move, outside=0.0 if black else None)


def _show_on_wider_field(unit: Unit, options: Augmentation, random: np.random.Generator) -> Unit:
    """Return the image as a technician or an archive shows it that cuts nothing off.

    Turned on a field that holds its corners, or with a border, then squashed again: the hand gets
    smaller, and of another aspect, which no change of ``_place`` does.
    """
    sides = np.array([random.uniform(_NARROWEST, _BROADEST), 1.0])  # (width, height)
    is_turned = random.random() < _TURNED
    angle = np.deg2rad(random.uniform(-options.field_degrees, options.field_degrees) * is_turned)
    border = random.uniform(0.0, options.field_border) * (not is_turned)
    turn = _turn(angle)
    field = np.abs(turn) @ sides + 2 * border * sides.min()
    mirror = -1.0 if random.random() < options.flip else 1.0
    matrix = np.diag(1 / field) @ turn @ np.diag([mirror * sides[0], sides[1]])
    outside = float(random.choice([0.0, 0.0, 0.0, 1.0])) if border else 0.0
    return _warped(unit, matrix, move=np.zeros(2), outside=outside)


def _turn(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _warped(
    unit: Unit, matrix: NDArray[np.float64], *, move: NDArray[np.float64], outside: float | None
) -> Unit:
    """Return the image moved about its middle; beyond its edge ``outside``, or its last pixels."""
    size = unit.shape[0]
    centre = np.full(2, (size - 1) / 2)
    offset = centre - matrix @ centre + move
    placed = cv2.warpAffine(
        unit,
        np.column_stack([matrix, offset]),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT,
        borderValue=[outside or 0.0],
    )
    return np.asarray(placed, dtype=np.float32)


def _uniform_operation(unit: Unit, random: np.random.Generator) -> Unit:
    """Return the image after one operation, drawn with its probability and its magnitude."""
    name = str(random.choice(list(_UNIFORM)))
    magnitude = random.uniform(-_UNIFORM[name], _UNIFORM[name])
    if random.random() >= random.random():  # the probability is drawn, too
        return unit
    if name == "flip":
        return np.ascontiguousarray(unit[:, ::-1])
    angle = np.deg2rad(magnitude) if name == "rotate" else 0.0
    matrix = _turn(angle)
    matrix += np.array(
        [[0.0, magnitude * (name == "shear_x")], [magnitude * (name == "shear_y"), 0.0]]
    )
    shift = np.array([magnitude * (name == "shift_x"), magnitude * (name == "shift_y")])
    return _warped(unit, matrix, move=shift * unit.shape[0], outside=0.0)


def _shade(unit: Unit, options: Augmentation, random: np.random.Generator) -> Unit:
    if options.clahe and random.random() < options.clahe:
        equalise = cv2.createCLAHE(clipLimit=options.clahe_clip, tileGridSize=(8, 8))
        grey = np.rint(unit * _WHITE).astype(np.uint8)
        unit = np.asarray(equalise.apply(grey), dtype=np.float32) / np.float32(_WHITE)
    elif options.window and random.random() < options.window:
        unit = _through_window(unit, random)
    elif random.random() < options.gamma:
        exponent = np.exp(random.uniform(np.log(options.gamma_from), np.log(options.gamma_to)))
        unit = np.power(unit, np.float32(exponent))
    if random.random() < options.intensity:
        gain = 1 + random.uniform(-options.contrast, options.contrast)
        lift = random.uniform(-options.brightness, options.brightness)
        unit = np.clip((unit - 0.5) * gain + 0.5 + lift, 0.0, 1.0)
    return unit.astype(np.float32, copy=False)


def _through_window(unit: Unit, random: np.random.Generator) -> Unit:
    """Return the image through a linear or a sigmoid VOI LUT function of PS3.3 C.11.2.1.

    What lies beyond a linear window is lost, as where soft tissue was cut off to black.
    """
    low = random.uniform(0.0, _LOWER_END)
    high = 1.0 - random.uniform(0.0, _UPPER_END)
    if random.random() >= _SIGMOID:
        return np.asarray(np.clip((unit - low) / (high - low), 0.0, 1.0), dtype=np.float32)
    centre, width = (low + high) / 2, (high - low) * random.uniform(*_SIGMOID_WIDTH)
    dark, bright = _sigmoid(np.array([0.0, 1.0]), centre=centre, width=width)
    curve = _sigmoid(unit, centre=centre, width=width)
    return np.asarray(np.clip((curve - dark) / (bright - dark), 0.0, 1.0), dtype=np.float32)


def _sigmoid(values: NDArray[Any], *, centre: float, width: float) -> NDArray[Any]:
    return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))


def _sharpen(unit: Unit, options: Augmentation, random: np.random.Generator) -> Unit:
    if not options.sharpen or random.random() >= options.sharpen:
        return unit
    share, lightness = random.uniform(0.5, 0.75), random.uniform(0.5, 1.0)
    kernel = np.full((3, 3), -1.0)
    kernel[1, 1] = 8.0 + lightness
    sharp = cv2.filter2D(unit, -1, kernel)
    return np.clip((1 - share) * unit + share * sharp, 0.0, 1.0).astype(np.float32)


def _frame(unit: Unit, options: Augmentation, random: np.random.Generator) -> Unit:
    if random.random() >= options.frame:
        return unit
    size = unit.shape[0]
    top, bottom, left, right = (random.uniform(0, options.frame_width, size=4) * size).astype(int)
    framed = np.full_like(unit, random.choice([0.0, 0.0, 1.0, random.random()]))
    rows, columns = slice(top, size - bottom), slice(left, size - right)
    framed[rows, columns] = unit[rows, columns]
    return framed
