"""The constancy phantom: a drawn hand radiograph of a stated age and sex, and of nobody.

It is a measuring object, as a step wedge is: the same drawing, byte for byte, must give the same
number. Shapes are filled polygons with whole-number corners, everything after that is integer
arithmetic, so that the digest in a manifest holds on any machine. It says PHANTOM in the picture.

What the stated age changes: the size of the hand, the gap between shafts and epiphyses, the width
of the epiphyses, and how many of the carpal bones there are. The order in which they appear is
that of Greulich and Pyle (capitate and hamate first, pisiform left out); the sizes are drawn by
eye and have no anatomical claim.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.images import Sex

ROWS, COLUMNS = 1500, 1100
LEVELS = 16  #: grey levels of the 12-bit result for each level that is drawn
TEXT = "PHANTOM"
#: five by seven dots for each letter, a row an integer; no font, whose drawing versions change
_LETTERS = {
    "A": (14, 17, 17, 31, 17, 17, 17),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "T": (31, 4, 4, 4, 4, 4, 4),
}

#: tip of the metacarpal row to finger tip: base (x, y), direction in degrees from upright, lengths
#: of metacarpal, proximal, middle and distal phalanx, half width of the proximal phalanx.
#: A left hand, palm down: the thumb is on the right. In hundredths of the picture's height.
_RAYS = (
    # name, base x, base y, degrees, metacarpal, proximal, middle, distal, half width
    ("little", -6.8, 4.0, -17.0, 11.6, 8.0, 4.8, 4.2, 1.25),
    ("ring", -3.2, 3.2, -6.5, 12.8, 10.0, 6.6, 4.6, 1.42),
    ("middle", 0.4, 3.0, 1.5, 14.2, 11.0, 7.2, 4.8, 1.52),
    ("index", 4.2, 3.4, 10.5, 14.6, 9.8, 6.0, 4.4, 1.48),
    ("thumb", 7.0, 8.0, 42.0, 9.6, 7.4, 0.0, 5.4, 1.55),
)

#: carpal bones: x, y, half width, half height, turn in degrees, age in months at which they appear
#: (girls; boys later by ``_BOYS_LATER``), after Greulich and Pyle 1959
_CARPALS = (
    ("capitate", 0.4, 7.0, 2.1, 2.7, 5.0, 3.0),
    ("hamate", -3.4, 7.2, 2.0, 2.3, -15.0, 4.0),
    ("triquetral", -5.0, 10.6, 1.5, 1.6, 30.0, 22.0),
    ("lunate", -1.2, 11.0, 1.9, 1.6, 10.0, 34.0),
    ("trapezium", 5.4, 8.4, 1.6, 1.5, 40.0, 47.0),
    ("trapezoid", 3.4, 6.9, 1.3, 1.4, 15.0, 49.0),
    ("scaphoid", 3.2, 10.6, 1.7, 2.2, -35.0, 51.0),
)
_BOYS_LATER = 1.3
#: flesh of palm and forearm
_PALM = (
    *((-10.0, -6.0), (-9.2, 4.0), (-7.6, 13.0), (-7.2, 60.0), (6.6, 60.0), (7.4, 14.0)),
    *((10.5, 8.0), (12.5, 1.5), (9.4, -3.0), (8.2, -10.0), (-8.6, -8.0)),
)
#: months at which the epiphyses of radius and ulna are first drawn
_WRIST_EPIPHYSES = 12.0
#: months at which growth plates close, about; the radius is the last
_CLOSED = {Sex.FEMALE: 192.0, Sex.MALE: 216.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Growth:
    """What the stated age does to the drawing."""

    size: float  #: of the hand, 1.0 for a grown one
    gap: float  #: open share of the growth plates, 1.0 newborn, 0.0 closed
    cap: float  #: width of an epiphysis as a share of its shaft's
    months: float  #: on the girls' scale


def _growth(*, age_months: float, sex: Sex) -> _Growth:
    closed = _CLOSED[sex]
    share = min(max(age_months / closed, 0.0), 1.0)
    return _Growth(
        size=0.62 + 0.38 * share,
        gap=1 - share,
        cap=min(1.12, max(0.0, (age_months - 8) / 90)),
        months=age_months / (_BOYS_LATER if sex is Sex.MALE else 1.0),
    )


class _Canvas:
    """Layers of 8-bit integers; coordinates in hundredths of the height, y downwards."""

    def __init__(self, *, size: float) -> None:
        self._scale = ROWS / 100 * 1.42 * size
        self._centre = (COLUMNS * 0.45, ROWS * 0.60)

    def place(self, x: float, y: float) -> tuple[int, int]:
        """Return (column, row) in pixels."""
        return (
            round(self._centre[0] + x * self._scale),
            round(self._centre[1] + y * self._scale),
        )

    @staticmethod
    def layer() -> NDArray[np.uint8]:
        """Return an empty layer."""
        return np.zeros((ROWS, COLUMNS), dtype=np.uint8)


def _outline_bone(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    *,
    at_start: float,
    waist: float,
    at_end: float,
) -> NDArray[np.float64]:
    """Return the outline of a long bone, ``(point, 2)``: broad ends, a narrow waist."""
    along = end - start
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    steps = np.linspace(0, 1, 25)
    ends = np.where(steps < steps.mean(), at_start, at_end)
    half = waist + (ends - waist) * np.abs(2 * steps - 1) ** 2.2
    half *= np.clip(np.minimum(steps, 1 - steps) * 14 + 0.55, 0, 1)  # rounded corners
    spine = start + steps[:, None] * along
    return np.concatenate([spine + across * half[:, None], (spine - across * half[:, None])[::-1]])


class _Skeleton:
    """Draws bones into a layer of mineral and remembers the flesh around them."""

    def __init__(self, canvas: _Canvas, growth: _Growth) -> None:
        self._canvas = canvas
        self._growth = growth
        self.flesh = canvas.layer()
        self.cortex = canvas.layer()
        self.marrow = canvas.layer()

    def _fill(self, layer: NDArray[np.uint8], outline: NDArray[np.float64], value: int) -> None:
        points = np.array([self._canvas.place(x, y) for x, y in outline], dtype=np.int32)
        cv2.fillPoly(layer, [points], value)

    def _long_bone(self, outline: tuple[NDArray[np.float64], ...]) -> None:
        outer, inner = outline
        self._fill(self.cortex, outer, 255)
        self._fill(self.marrow, inner, 255)

    def bone(
        self,
        start: NDArray[np.float64],
        end: NDArray[np.float64],
        *,
        half_width: float,
        plate: bool,
    ) -> None:
        """Draw one long bone from joint to joint; ``plate`` puts an epiphysis at ``start``."""
        along = (end - start) / np.hypot(*(end - start))
        gap = 0.55 * self._growth.gap if plate else 0.0
        cap = 0.75 if plate and self._growth.gap > 0 else 0.0
        foot = start + along * (0.35 + cap + gap)
        head = end - along * 0.35
        widths = {"at_start": half_width * 1.12, "at_end": half_width * 0.95}
        outer = _outline_bone(foot, head, waist=half_width * 0.66, **widths)
        inner = _outline_bone(
            foot + along * 0.5,
            head - along * 0.5,
            at_start=half_width * 0.8,
            waist=half_width * 0.3,
            at_end=half_width * 0.68,
        )
        self._long_bone((outer, inner))
        if cap and self._growth.cap > 0:
            self._epiphysis(start + along * (0.35 + cap / 2), along, half_width * self._growth.cap)

    def _epiphysis(
        self, centre: NDArray[np.float64], along: NDArray[np.float64], half_width: float
    ) -> None:
        turn = float(np.degrees(np.arctan2(along[0], -along[1])))
        thickness = min(max(0.42, 0.24 * half_width), 0.6 * half_width)  # flat, wide as the shaft
        self.oval(centre, half_width, thickness, turn=turn)

    def oval(
        self, centre: NDArray[np.float64], half_width: float, half_height: float, *, turn: float
    ) -> None:
        """Draw a short bone or an epiphysis."""
        steps = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        angle = np.deg2rad(turn)
        rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for layer, shrink in ((self.cortex, 0.0), (self.marrow, 0.22)):
            axes = np.maximum([half_width - shrink, half_height - shrink], 0.05)
            ring = np.stack([np.cos(steps), np.sin(steps)], axis=1) * axes
            self._fill(layer, centre + ring @ rotate.T, 255)

    def soft_capsule(
        self, start: NDArray[np.float64], end: NDArray[np.float64], *, half_width: float
    ) -> None:
        """Add flesh round a line."""
        along = (end - start) / np.hypot(*(end - start))
        heading = np.arctan2(along[1], along[0])
        turns = heading + np.linspace(-np.pi / 2, np.pi / 2, 17)
        cap = half_width * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        self._fill(self.flesh, np.concatenate([end + cap, start - cap]), 255)

    def soft_shape(self, corners: Sequence[tuple[float, float]]) -> None:
        """Add flesh inside a polygon."""
        self._fill(self.flesh, np.array(corners), 255)


def _draw_ray(
    skeleton: _Skeleton, ray: tuple[str, float, float, float, float, float, float, float, float]
) -> None:
    name, x, y, degrees, *lengths, half_width = ray
    direction = np.array([np.sin(np.deg2rad(degrees)), -np.cos(np.deg2rad(degrees))])
    joint = np.array([x, y])
    for position, length in enumerate(lengths):
        if not length:
            continue
        end = joint + direction * length
        width = half_width * (1.12, 1.0, 0.88, 0.72)[position]
        # metacarpals 2 to 5 have their growth plate at the finger's end, the thumb's at the wrist
        if position == 0 and name != "thumb":
            skeleton.bone(end, joint, half_width=width, plate=True)
        else:
            skeleton.bone(joint, end, half_width=width, plate=True)
        flesh = half_width * (1.9, 1.75, 1.6, 1.4)[position]
        beyond = direction * (0.0, 0.0, 0.0, 0.6)[position]  # the pulp of the finger tip
        skeleton.soft_capsule(joint, end + beyond, half_width=flesh)
        joint = end


def _draw_wrist(skeleton: _Skeleton, growth: _Growth) -> None:
    for _name, x, y, half_width, half_height, turn, appears in _CARPALS:
        grown = min(1.0, max(0.0, (growth.months - appears + 12) / 110))
        if growth.months >= appears:
            share = 0.3 + 0.7 * grown
            skeleton.oval(np.array([x, y]), half_width * share, half_height * share, turn=turn)
    for x, half_width, top in ((3.2, 2.5, 14.2), (-4.4, 1.45, 15.4)):  # radius, ulna
        start, end = np.array([x, top]), np.array([x * 0.72, 60.0])
        skeleton.bone(start, end, half_width=half_width, plate=growth.months > _WRIST_EPIPHYSES)


def _soften(layer: NDArray[np.uint8], *, width: int) -> NDArray[np.int32]:
    """Return the layer after three running means of odd ``width``, near a Gaussian, 0 … 255."""
    soft = layer
    for _ in range(3):
        for window in ((1, width), (width, 1)):
            sums = cv2.boxFilter(  # whole numbers in, whole numbers out
                soft, cv2.CV_32S, window, normalize=False, borderType=cv2.BORDER_REPLICATE
            )
            soft = ((sums + width // 2) // width).astype(np.uint8)
    return soft.astype(np.int32)


def _write(picture: NDArray[np.int64], text: str, *, row: int, column: int, dot: int) -> None:
    """Write in blocks of ``dot`` pixels, from the upper left corner."""
    for letter in text:
        bits = [[(line >> (4 - bit)) & 1 for bit in range(5)] for line in _LETTERS[letter]]
        mask = np.kron(np.array(bits), np.ones((dot, dot), dtype=np.int64)) > 0
        part = picture[row : row + mask.shape[0], column : column + mask.shape[1]]
        part[mask] = 245 * LEVELS
        column += 6 * dot


def _grain() -> NDArray[np.int64]:
    """Return fixed noise of 0 … 3 drawn levels, from a stream that numpy never changes."""
    stream = np.random.RandomState(20260101)  # frozen by numpy's policy
    return np.asarray(stream.randint(0, 3 * LEVELS + 1, size=(ROWS, COLUMNS)), dtype=np.int64)


def draw_phantom(*, age_months: float, sex: Sex) -> NDArray[np.uint16]:
    """Return the phantom, ``(1500, 1100)`` uint16, 12 bits used, bone bright.

    Equal arguments give equal bytes.

    Args:
        age_months: stated age, 12 to 228.
        sex: girls' bones ripen earlier.
    """
    growth = _growth(age_months=age_months, sex=sex)
    skeleton = _Skeleton(_Canvas(size=growth.size), growth)
    for ray in _RAYS:
        _draw_ray(skeleton, ray)
    skeleton.soft_shape(_PALM)
    _draw_wrist(skeleton, growth)
    flesh = _soften(skeleton.flesh, width=25)
    cortex = _soften(skeleton.cortex, width=5)
    marrow = _soften(skeleton.marrow, width=9)
    # levels by eye: air 12, flesh 62 more, bone 110 more at the cortex, less over the marrow
    levels = 12 * 255 + flesh * 62 + cortex * 110 - marrow * 38
    picture = levels * LEVELS // 255 + _grain()
    _write(picture, TEXT, row=1420, column=40, dot=6)
    _write(picture, "L", row=60, column=50, dot=14)
    return picture.astype(np.uint16)


def digest_of_pixels(pixels: NDArray[np.generic]) -> str:
    """Return sha256 over shape and values, hexadecimal, whatever the type of the array.

    Whole numbers are needed: the digest is that of the values as 32-bit integers.
    """
    whole = np.ascontiguousarray(np.rint(np.asarray(pixels, dtype=np.float64)), dtype="<i4")
    return hashlib.sha256(f"{whole.shape}".encode() + whole.tobytes()).hexdigest()


def is_phantom(pixels: NDArray[np.generic], *, digest: str) -> bool:
    """Say whether an image is the phantom with this digest; other shapes are not hashed."""
    return pixels.shape == (ROWS, COLUMNS) and digest_of_pixels(pixels) == digest
