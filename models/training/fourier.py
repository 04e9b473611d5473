"""A picture's spectrum as a network's input, as Deeplasia offers it for training."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: standard deviations beyond which a channel is cut
_MOST = 5.0


def spectrum(
    values: NDArray[np.float32], *, kind: Literal["magnitude", "parts"]
) -> NDArray[np.float32]:
    """Return the spectrum with frequency 0 in the middle.

    Args:
        values: ``(size, size)``, any units.
        kind: "parts" for real part, imaginary part and magnitude.

    Returns:
        ``(1, size, size)`` or ``(3, size, size)``; each channel has mean 0 and deviation 1 and is
        cut at five deviations.
    """
    transformed = np.fft.fftshift(np.fft.fft2(values, norm="ortho"))
    magnitude = np.abs(transformed)
    channels = (
        [magnitude] if kind == "magnitude" else [transformed.real, transformed.imag, magnitude]
    )
    stacked = np.stack(channels)
    deviation = stacked.std(axis=(1, 2), keepdims=True)
    scaled = (stacked - stacked.mean(axis=(1, 2), keepdims=True)) / np.maximum(deviation, 1e-9)
    cut: NDArray[np.float32] = np.clip(scaled, -_MOST, _MOST).astype(np.float32)
    return cut
