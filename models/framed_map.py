"""A heatmap of an input that shows a part of the image, put where it belongs."""

import numpy as np
from numpy.typing import NDArray

from models.foreign_preprocessing import Frame
from models.saliency import GRID


def _shares(*, cells: int, start: float, length: float, whole: float) -> NDArray[np.float64]:
    """Return ``(GRID, cells)``: which share of each cell lies in each field along one axis.

    The cells divide ``length`` pixels from ``start`` on, the fields ``whole`` pixels from 0 on.
    What lies outside the image belongs to its edge, so every column adds up to 1.
    """
    cell_edges = start + np.arange(cells + 1) * (length / cells)
    field_edges = np.arange(GRID + 1) * (whole / GRID)
    field_edges[0], field_edges[-1] = -np.inf, np.inf
    low = np.maximum(cell_edges[None, :-1], field_edges[:-1, None])
    high = np.minimum(cell_edges[None, 1:], field_edges[1:, None])
    shares: NDArray[np.float64] = np.clip(high - low, 0.0, None) * (cells / length)
    return shares


def onto_source_grid(
    cells: NDArray[np.float32], frame: Frame, *, rows: int, columns: int
) -> NDArray[np.float32]:
    """Return one member's map on the grid over the whole source image, same sum.

    Args:
        cells: ``(cell rows, cell columns)`` months in each cell of the last feature map.
        frame: the part of the source image that the member saw.
        rows: of the source image.
        columns: of the source image.

    Returns:
        ``(GRID, GRID)`` float32, months in each field.
    """
    down = _shares(cells=cells.shape[0], start=frame.top, length=frame.height, whole=rows)
    across = _shares(cells=cells.shape[1], start=frame.left, length=frame.width, whole=columns)
    fields: NDArray[np.float32] = (down @ cells @ across.T).astype(np.float32)
    return fields
