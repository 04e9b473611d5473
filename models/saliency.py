"""Where in the image the number came from: HiResCAM, signed, in months.

The map is the elementwise product of the last feature map with the gradient of the output
(Draelos and Carin, arXiv 2011.08891). Behind a global average pool and a head that is linear
around the image at hand it is complete: the sum over the map and the intercept is the estimate.
Only the head is run backwards. What makes a hand look younger is negative and stays so.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks import BoneAgeNetwork

#: share of the strongest contribution from which on a place counts as a peak
PEAK_SHARE = 0.5
#: side of the grid of fields that the maps of all members are brought to: finer than the 6 x 6
#: cells that a backbone of stride 32 has at 192 pixels, so that members of other sizes fit in
GRID = 12
#: side of the grid on which peaks are outlined, pixels
OUTLINE_GRID = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """Signed months for each cell of the last feature map, for a batch."""

    months: Tensor  #: ``(batch, rows, columns)`` float32
    intercept_months: Tensor  #: ``(batch,)``: estimate less the sum of the map


def contributions(network: BoneAgeNetwork, feature_map: Tensor, sex: Tensor) -> Contributions:
    """Return the signed contribution of every cell to the months that the network says.

    Args:
        network: the member, in evaluation mode.
        feature_map: ``(batch, channels, rows, columns)`` from ``network.features``.
        sex: ``(batch, 1)`` float32, 1.0 male, 0.0 female.
    """
    with torch.enable_grad():
        leaf = feature_map.detach().float().requires_grad_()
        months = network.head(leaf, sex)  # (B,)
        (gradient,) = torch.autograd.grad(months.sum(), leaf)
    cells = (leaf.detach() * gradient).sum(dim=1)  # (B, R, C)
    return Contributions(months=cells, intercept_months=months.detach() - cells.sum(dim=(1, 2)))


def onto_common_grid(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one member's map on the grid that all members share, same sum.

    The grid covers the whole source image, however it was squashed: field (0, 0) begins at pixel
    (0, 0) and the last field ends with the last pixel.

    Args:
        cells: ``(cell rows, cell columns)`` months in each cell of the last feature map.

    Returns:
        ``(GRID, GRID)`` float32, months in each field.
    """
    smooth = cv2.resize(cells, (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    smooth = smooth * np.float32(cells.size / smooth.size)
    missing = float(cells.sum(dtype=np.float64)) - float(smooth.sum(dtype=np.float64))
    fields: NDArray[np.float32] = (smooth + missing / smooth.size).astype(np.float32)
    return fields


def outline_peak(
    cells: NDArray[np.float32], *, rows: int, columns: int
) -> tuple[tuple[float, float], ...]:
    """Return a closed polygon round the strongest region, (column, row) of the source image.

    The region is where the size of the contribution, older or younger, is at least
    ``PEAK_SHARE`` of the greatest; of several regions, the one with the most months in it.

    Returns:
        The corners, the first repeated at the end, none outside the image; empty for a map
        without any contribution.
    """
    grid = (OUTLINE_GRID, OUTLINE_GRID)
    strength = np.abs(cv2.resize(cells, grid, interpolation=cv2.INTER_LINEAR))
    if not strength.max() > 0:
        return ()
    peaks = (strength >= PEAK_SHARE * strength.max()).astype(np.uint8)
    _, labels = cv2.connectedComponents(peaks)
    months_in = np.bincount(labels.ravel(), weights=strength.ravel())
    months_in[0] = 0  # label 0 is everything outside the peaks
    region = (labels == int(months_in.argmax())).astype(np.uint8)
    found, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = cv2.approxPolyDP(max(found, key=cv2.contourArea), 2.0, closed=True)[:, 0, :]
    scale = np.array([columns, rows]) / OUTLINE_GRID
    placed = (corners + 0.5) * scale  # centre of a grid pixel
    polygon = [(float(column), float(row)) for column, row in placed]
    return (*polygon, polygon[0])
