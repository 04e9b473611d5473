"""The same hand as another detector, VOI LUT or archive would show it; the age must not move.

Applied to 8-bit test images before the serving path. What they stand for: a 12-bit image that uses
a fifth of its range, other tone curves, a burned-in border, negative padding, a turned cassette.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Variant = Callable[[NDArray[np.float32]], NDArray[np.float32]]

WHITE = 255.0  #: brightest value of the test images
BORDER_SHARE = 0.04  #: width of the border, share of the shorter side
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


def _bordered(pixels: NDArray[np.float32], *, value: float) -> NDArray[np.float32]:
    width = round(BORDER_SHARE * min(pixels.shape))
    return np.pad(pixels, width, constant_values=value).astype(np.float32)


#: name in the table → what is done
VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "a fifth of 12 bits": _twelve_bits,
        "gamma 0.5": lambda pixels: _tone(pixels, gamma=0.5),
        "gamma 2": lambda pixels: _tone(pixels, gamma=2.0),
        "sigmoid VOI": _sigmoid,
        "black border": lambda pixels: _bordered(pixels, value=0.0),
        "white border": lambda pixels: _bordered(pixels, value=WHITE),
        "negative padding": lambda pixels: _bordered(pixels, value=PADDING_VALUE),
        "mirrored": lambda pixels: np.ascontiguousarray(pixels[:, ::-1]),
        "upside down": lambda pixels: np.ascontiguousarray(pixels[::-1, ::-1]),
    }
)
