"""The same hand as another detector, VOI LUT or archive would show it; the age must not move.

Applied to 8-bit test images before the serving path. What they stand for: a 12-bit image that uses
a fifth of its range, other tone curves, a burned-in border, negative padding, a turned cassette, a
header that tells the polarity wrongly.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from models.upright import turned_whole

Variant = Callable[[NDArray[np.float32]], NDArray[np.float32]]

WHITE = 255.0  #: brightest value of the test images
BORDER_SHARE = 0.04  #: width of the border, share of the shorter side
WIDE_BORDER_SHARE = 0.2  #: of a field that is collimated heavily
PADDING_VALUE = -2000.0  #: as some archives pad after rescaling


def as_it_is(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image unchanged."""
    return pixels


def _tone(pixels: NDArray[np.float32], *, gamma: float) -> NDArray[np.float32]:
    return np.asarray(WHITE * (pixels / WHITE) ** gamma, dtype=np.float32)


def _sigmoid(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values through the sigmoid VOI LUT function of PS3.3 C.11.2.1.3.1."""
    width, centre = WHITE / 2, WHITE / 2
    curve = WHITE / (1 + np.exp(-4 * (pixels - centre) / width))
    return np.asarray(curve, dtype=np.float32)


def _twelve_bits(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return whole numbers between 300 and 1119 of 4095."""
    return np.asarray(np.rint(300 + pixels / WHITE * 819), dtype=np.float32)


def _bordered(
    pixels: NDArray[np.float32], *, value: float, share: float = BORDER_SHARE
) -> NDArray[np.float32]:
    width = round(share * min(pixels.shape))
    return np.pad(pixels, width, constant_values=value).astype(np.float32)


def _brightened(pixels: NDArray[np.float32], *, factor: float) -> NDArray[np.float32]:
    """Return the image so many times as bright, cut off at white: brightness as usually jittered.

    (torchvision's ``ColorJitter``, Pillow's ``ImageEnhance.Brightness``.)
    """
    return np.asarray(np.clip(pixels * factor, 0, WHITE), dtype=np.float32)


def _shifted(pixels: NDArray[np.float32], *, share: float) -> NDArray[np.float32]:
    """Return the image with a share of white added, cut off at both ends.

    The harder meaning of a brightness: in an image that uses half of the range, bone is lost.
    """
    return np.asarray(np.clip(pixels + share * WHITE, 0, WHITE), dtype=np.float32)


def _contrasted(pixels: NDArray[np.float32], *, factor: float) -> NDArray[np.float32]:
    """Return the image with its differences from mid-grey enlarged, cut off at both ends."""
    middle = WHITE / 2
    return np.asarray(np.clip((pixels - middle) * factor + middle, 0, WHITE), dtype=np.float32)


def rotated(pixels: NDArray[np.float32], *, degrees: float) -> NDArray[np.float32]:
    """Return the image turned about its middle on a field that holds all of it, air around it."""
    turned, _ = turned_whole(pixels, degrees=-degrees)
    return turned


def turned_in_place(pixels: NDArray[np.float32], *, degrees: float) -> NDArray[np.float32]:
    """Return the image turned about its middle, as large as it was: what leaves it is lost."""
    rows, columns = pixels.shape
    matrix = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), degrees, 1.0)
    air = float(np.percentile(pixels, 2))
    turned = cv2.warpAffine(
        pixels, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderValue=[air]
    )
    return np.asarray(turned, dtype=np.float32)


def _halved(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image at half its resolution."""
    rows, columns = pixels.shape
    half = cv2.resize(pixels, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, dtype=np.float32)


def _turned(pixels: NDArray[np.float32], *, quarters: int) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def _mirrored(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(pixels[:, ::-1])


def _inverted(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(WHITE - pixels, dtype=np.float32)


#: name in the table → what is done
VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "turned by 90°": partial(_turned, quarters=1),
        "turned by 180°": partial(_turned, quarters=2),
        "turned by 270°": partial(_turned, quarters=3),
        "turned by 20°": partial(rotated, degrees=20.0),
        "turned by -20°": partial(rotated, degrees=-20.0),
        "mirrored": _mirrored,
        "inverted": _inverted,
        "20 % brighter": partial(_brightened, factor=1.2),
        "20 % darker": partial(_brightened, factor=0.8),
        "a fifth of white added": partial(_shifted, share=0.2),
        "a fifth of white taken off": partial(_shifted, share=-0.2),
        "20 % more contrast": partial(_contrasted, factor=1.2),
        "20 % less contrast": partial(_contrasted, factor=0.8),
        "gamma 0.5": partial(_tone, gamma=0.5),
        "gamma 2": partial(_tone, gamma=2.0),
        "a fifth of 12 bits": _twelve_bits,
        "sigmoid VOI": _sigmoid,
        "black border": partial(_bordered, value=0.0),
        "white border": partial(_bordered, value=WHITE),
        "negative padding": partial(_bordered, value=PADDING_VALUE),
        "wide black border": partial(_bordered, value=0.0, share=WIDE_BORDER_SHARE),
        "half the resolution": _halved,
    }
)
