"""A page as an ordinary picture file."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def write_png(path: Path, page: NDArray[np.uint8]) -> None:
    """Write ``page``, ``(rows, columns, 3)`` RGB, as PNG.

    Raises:
        OSError: the disk refused.
    """
    _, encoded = cv2.imencode(".png", cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
    path.write_bytes(encoded.tobytes())
