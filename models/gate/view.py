"""What the gate's network is shown: the exposed area alone, squashed to a small square."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.transforms import Exposed, expose
from schemas.releases import PreprocessingRule


def gate_view(
    image: NDArray[np.float32], *, size: int, rule: PreprocessingRule
) -> NDArray[np.float32]:
    """Return the exposed area in unit range, ``(size, size)`` float32.

    So neither a border nor the padding of an archive changes what is seen, and an inverted image
    gives the inverted view.

    Args:
        image: ``(height, width)`` display values, squashed or not.
        size: side of the view, pixels.
        rule: the release's preprocessing.

    Raises:
        FlatImageError: the image is almost uniform.
    """
    return view_of(expose(image, rule=rule), size=size)


def view_of(exposed: Exposed, *, size: int) -> NDArray[np.float32]:
    """Return the view of an image that is in unit range already; as ``gate_view``."""
    inside = exposed.inside
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    shown = exposed.unit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    view = cv2.resize(shown, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(view, dtype=np.float32)
