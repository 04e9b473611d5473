"""Display values to the input of a network with a rule of its own, in the steps that it names.

Networks of others have such a rule, and recipes may. The order is
``grey_levels → mask → subtract → crop to the hand → CLAHE → match histogram → frame → scale``; a
rule leaves out what its network never had (``schemas.releases.MemberPreprocessing``).
Pictures are 8 bits deep between the steps, as they were where these networks were trained. Beside
the picture goes its frame: which part of the source image it shows, so that a heatmap finds back.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.transforms import FlatImageError
from schemas.releases import Framing, MemberPreprocessing, Scaling, Subtraction

Grey = NDArray[np.uint8]

MIDDLE = 0.5  #: where a square is cut from the longer side, 0 being its top or left end

_WHITE = 255
_PERCENTILE = 1.0
_TILES = (8, 8)
#: a picture whose grey levels deviate less than this is empty (Deeplasia asserts the same)
_LEAST_DEVIATION = 1e-5
#: mean and deviation of ImageNet's pictures (0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 of the
#: three colours), averaged for grey ones
_IMAGENET_MEAN, _IMAGENET_DEVIATION = 0.449, 0.226


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The part of the source image that an input shows, in pixels; it may reach beyond."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FramedPicture:
    """A picture between two steps, and what it shows."""

    grey: Grey  #: ``(rows, columns)`` 0 to 255
    frame: Frame


def grey_levels(pixels: NDArray[np.float32]) -> Grey:
    """Return display values as 8-bit grey levels.

    Whole numbers from 0 to 255 are taken as they are, because that is what these networks were
    given; anything else is spread from its least value (0) to its greatest (255).

    Raises:
        FlatImageError: all values are the same.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if high <= low:
        raise FlatImageError(contrast=0.0, least=_LEAST_DEVIATION)
    is_8_bit = low >= 0 and high <= _WHITE and bool((pixels == np.rint(pixels)).all())
    if is_8_bit:
        return np.asarray(pixels, dtype=np.uint8)
    spread = (pixels.astype(np.float64) - low) * (_WHITE / (high - low))
    return np.asarray(np.rint(spread), dtype=np.uint8)


def subtract(grey: Grey, subtraction: Subtraction) -> Grey:
    """Return the picture less one whole grey level, not below 0.

    The level is rounded once, as OpenCV's saturating subtraction does it. To round each difference
    instead would make pairs of grey levels the same wherever the level ends in one half.
    """
    if subtraction is Subtraction.NONE:
        return grey
    if subtraction is Subtraction.MEAN:
        level = float(grey.mean())
    else:
        above = grey[grey > 0]
        level = float(np.percentile(above, _PERCENTILE)) if above.size else 0.0
    less = grey.astype(np.int16) - round(level)
    return np.asarray(np.maximum(less, 0), dtype=np.uint8)


def cut_out(grey: Grey, *, top: int, left: int, height: int, width: int) -> Grey:
    """Return a rectangle of the picture; what lies outside it is black."""
    out = np.zeros((height, width), dtype=np.uint8)
    rows = slice(max(top, 0), min(top + height, grey.shape[0]))
    columns = slice(max(left, 0), min(left + width, grey.shape[1]))
    inner = grey[rows, columns]
    start_row, start_column = rows.start - top, columns.start - left
    out[start_row : start_row + inner.shape[0], start_column : start_column + inner.shape[1]] = (
        inner
    )
    return out


def crop_to_hand(grey: Grey, hand: NDArray[np.bool_], *, factor: float) -> FramedPicture:
    """Return a square round the hand whose side is its longer side times the factor."""
    rows, columns = np.flatnonzero(hand.any(axis=1)), np.flatnonzero(hand.any(axis=0))
    height, width = int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
    side = round(max(height, width) * factor)
    top = int(rows[0]) - (side - height) // 2
    left = int(columns[0]) - (side - width) // 2
    square = cut_out(grey, top=top, left=left, height=side, width=side)
    return FramedPicture(grey=square, frame=Frame(top=top, left=left, height=side, width=side))


def equalise(grey: Grey, *, clip: float | None) -> Grey:
    """Return the picture after CLAHE with this clip limit; unchanged for None."""
    if clip is None:
        return grey
    return np.asarray(cv2.createCLAHE(clipLimit=clip, tileGridSize=_TILES).apply(grey), np.uint8)


def match_histogram(grey: Grey, *, reference: tuple[int, ...] | None) -> Grey:
    """Return the picture with each quantile at the reference's grey level; unchanged for None.

    Between two levels of the reference the quantile is interpolated, then cut to a whole level.
    """
    if reference is None:
        return grey
    levels = np.arange(_WHITE + 1)
    wanted, own = np.asarray(reference), np.bincount(grey.ravel(), minlength=_WHITE + 1)
    present = wanted > 0
    quantiles = np.cumsum(wanted)[present] / wanted.sum()
    matched = np.interp(np.cumsum(own) / grey.size, quantiles, levels[present])
    table: Grey = matched.astype(np.uint8)
    return np.asarray(table[grey], dtype=np.uint8)


def _resized(values: NDArray[np.float32], *, rows: int, columns: int) -> NDArray[np.float32]:
    """Return the picture at another size as PIL's bilinear does it: a triangle, antialiased."""
    tensor = torch.from_numpy(values)[None, None]
    resized = functional.interpolate(
        tensor, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True
    )
    return np.asarray(resized[0, 0].numpy(), dtype=np.float32)


def _padded(picture: FramedPicture) -> FramedPicture:
    """Return the picture in the middle of a black square."""
    rows, columns = picture.grey.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    return FramedPicture(
        grey=cut_out(picture.grey, top=-top, left=-left, height=side, width=side),
        frame=_part(picture, top=-top, left=-left, height=side, width=side),
    )


def _part(picture: FramedPicture, *, top: int, left: int, height: int, width: int) -> Frame:
    """Return the frame of a rectangle of the picture, in pixels of the source image."""
    whole = picture.frame
    vertical = whole.height / picture.grey.shape[0]
    horizontal = whole.width / picture.grey.shape[1]
    return Frame(
        top=whole.top + top * vertical,
        left=whole.left + left * horizontal,
        height=height * vertical,
        width=width * horizontal,
    )


def _cut_square(picture: FramedPicture, *, along: float) -> FramedPicture:
    """Return a square of the shorter side; what lies beyond it on the longer one is lost."""
    rows, columns = picture.grey.shape
    side = min(rows, columns)
    top, left = int((rows - side) * along), int((columns - side) * along)
    return FramedPicture(
        grey=picture.grey[top : top + side, left : left + side],
        frame=_part(picture, top=top, left=left, height=side, width=side),
    )


def _fitted(picture: FramedPicture, *, size: int) -> FramedPicture:
    """Return the picture resized until its longer side is ``size``."""
    rows, columns = picture.grey.shape
    factor = size / max(rows, columns)
    shape = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    resized = cv2.resize(picture.grey, shape, interpolation=cv2.INTER_LINEAR)
    return FramedPicture(grey=np.asarray(resized, np.uint8), frame=picture.frame)


def frame_square(
    picture: FramedPicture, *, rule: MemberPreprocessing, size: int, along: float = MIDDLE
) -> tuple[NDArray[np.float32], Frame]:
    """Return the picture as a square of ``size``, ``(size, size)`` 0 to 255, and its frame.

    ``along``: where ``Framing.CENTRE`` cuts, from 0 (top or left) to 1; only training asks for
    anything but the middle.
    """
    if rule.framing is Framing.FIT:
        square = _padded(_fitted(picture, size=size))
    elif rule.framing is Framing.PAD:
        square = _padded(picture)
    elif rule.framing is Framing.SQUASH:
        square = picture
    else:
        square = _cut_square(picture, along=along)
    if square.grey.shape == (size, size):
        return square.grey.astype(np.float32), square.frame
    if rule.antialiased:
        values = _resized(square.grey.astype(np.float32), rows=size, columns=size)
    else:
        linear = cv2.resize(
            np.ascontiguousarray(square.grey), (size, size), interpolation=cv2.INTER_LINEAR
        )
        values = np.asarray(linear, dtype=np.float32)
    return values, square.frame


def scale(values: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Return the grey levels as the network takes them.

    Raises:
        FlatImageError: nothing but one grey level is left.
    """
    deviation = float(values.std(dtype=np.float64))
    if deviation <= _LEAST_DEVIATION:
        raise FlatImageError(contrast=deviation, least=_LEAST_DEVIATION)
    if scaling is not Scaling.Z_SCORE:
        return _linear(values, scaling)
    scaled: NDArray[np.float32] = (values - np.float32(values.mean(dtype=np.float64))) / np.float32(
        deviation
    )
    return scaled


def _linear(values: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Return the grey levels scaled by constants, or from the least to the greatest."""
    if scaling is Scaling.MIN_MAX:
        least = np.float32(values.min())
        return (values - least) / (np.float32(values.max()) - least)
    if scaling is Scaling.UNIT:
        return values / np.float32(_WHITE)
    if scaling is Scaling.IMAGENET:
        centred = values / np.float32(_WHITE) - np.float32(_IMAGENET_MEAN)
        return centred / np.float32(_IMAGENET_DEVIATION)
    return values


def prepare(
    grey: Grey, *, hand: NDArray[np.bool_] | None, rule: MemberPreprocessing, size: int
) -> tuple[NDArray[np.float32], Frame]:
    """Return a network's input, ``(size, size)`` float32, and the part of the image it shows.

    Args:
        grey: ``(rows, columns)`` the whole image.
        hand: ``(rows, columns)`` True on the hand; None where the rule asks for no mask.
        rule: what the network wants.
        size: side of its input in pixels.

    Raises:
        FlatImageError: nothing but one grey level is left.
    """
    values, frame = prepare_square(grey, hand=hand, rule=rule, size=size)
    return scale(values, rule.scaling), frame


def prepare_square(
    grey: Grey,
    *,
    hand: NDArray[np.bool_] | None,
    rule: MemberPreprocessing,
    size: int,
    along: float = MIDDLE,
) -> tuple[NDArray[np.float32], Frame]:
    """Return all but the last step of ``prepare``: ``(size, size)`` 0 to 255, and its frame.

    ``along``: as in ``frame_square``.
    """
    rows, columns = grey.shape
    whole = Frame(top=0.0, left=0.0, height=rows, width=columns)
    seen = grey if hand is None else np.where(hand, grey, 0).astype(np.uint8)
    seen = subtract(seen, rule.subtract)
    if hand is not None and rule.mask_crop is not None:
        picture = crop_to_hand(seen, hand, factor=rule.mask_crop)
    else:
        picture = FramedPicture(grey=seen, frame=whole)
    levelled = cv2.equalizeHist(picture.grey) if rule.equalised else picture.grey
    clear = equalise(np.asarray(levelled, np.uint8), clip=rule.clahe_clip)
    matched = match_histogram(clear, reference=rule.reference_histogram)
    framed = FramedPicture(grey=matched, frame=picture.frame)
    return frame_square(framed, rule=rule, size=size, along=along)
