"""An image that lies the wrong way round, or in negative: made readable, and mapped back."""

import numpy as np
from numpy.typing import NDArray

from schemas.estimates import Mending


def mended(pixels: NDArray[np.float32], mending: Mending) -> NDArray[np.float32]:
    """Return the image upright, with bone bright; ``(rows, columns)`` swap with odd turns."""
    values = pixels
    if mending.is_inverted:
        values = (pixels.min() + pixels.max()) - pixels
    return np.ascontiguousarray(np.rot90(values, -mending.turns), dtype=np.float32)


def turned_back(fields: NDArray[np.float32], mending: Mending) -> NDArray[np.float32]:
    """Return a map over the mended image as one over the image as it came."""
    return np.ascontiguousarray(np.rot90(fields, mending.turns))
