"""What the gate's network is shown: the exposed area alone, squashed to a small square."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.transforms import find_exposed_area, to_unit_range
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
    inside = find_exposed_area(image, tolerance=rule.border_tolerance)
    unit = to_unit_range(image, inside=inside, rule=rule)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    exposed = unit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    view = cv2.resize(exposed, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(view, dtype=np.float32)
