"""Where in the image the number came from, signed, in months.

Compared are the image and an empty exposure, at the feature map where the network is cut
(``BoneAgeNetwork.features``), by the rescale rule where the head is made of lines and bends, and by
integrated gradients otherwise: the gradient of the months, averaged along the straight line between
the two maps, times their difference (Sundararajan, Taly and Yan, arXiv 1703.01365). So the map is
complete: its sum is the estimate less what the network says to an empty exposure, and a place that
looks like empty air has no part in it. Only the head is run backwards. What makes a hand look
younger is negative and stays so.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.foreign_preprocessing import Frame
from models.networks.interface import AgeNetwork
from models.rescale import NeitherLineNorBendError, differences

#: share of the strongest contribution from which on a place counts as a peak
PEAK_SHARE = 0.5
#: side of the grid of fields that the maps of all members are brought to: finer than the 12 x 12
#: cells of a member that reads 192 pixels, fine enough to tell a finger from the air beside it (on
#: 14 calibration children 95.5 % of the months lay in the hand on 32, 96.5 % on 64)
GRID = 64
#: a field counts as tissue by the share of it that is brighter than this share of Otsu's threshold
#: (the same children, 0.7, 0.8, 0.9 and 1.0: 96.5, 96.8, 96.7 and 96.6 %)
TISSUE_LEVEL = 0.8
#: what a field without any tissue still weighs: a cell over nothing but air keeps its place
AIR_WEIGHT = 1e-3
#: points in a field, each way, at which the spread of a cell is sampled
SAMPLES = 4
#: points on the line from the empty exposure to the image, in the middle of equal parts. On sixteen
#: children the sum came to 1.0 months of the difference that it stands for on average, to 3.5 at
#: worst (efficientnet_lite0 at 192 px); four Gauss-Legendre points missed by 7.4. What is missed
#: stands in the intercept.
STEPS = 8
#: side of the grid on which peaks are outlined, pixels
OUTLINE_GRID = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """Signed months for each cell of the feature map, for a batch."""

    months: Tensor  #: ``(batch, rows, columns)`` float32
    intercept_months: Tensor  #: ``(batch,)``: estimate less the sum of the map


def empty_exposure(network: AgeNetwork, inputs: Tensor) -> Tensor:
    """Return the feature maps of images that are nothing but air.

    Args:
        network: the member, in evaluation mode.
        inputs: ``(batch, 1, size, size)``; the least value of each stands for air.

    Returns:
        ``(batch, channels, rows, columns)``.
    """
    air = inputs.amin(dim=(1, 2, 3), keepdim=True).expand_as(inputs)
    with torch.no_grad():
        feature_map: Tensor = network.features(air.contiguous(memory_format=torch.channels_last))
    return feature_map.float()


def contributions(
    network: AgeNetwork, feature_map: Tensor, sex: Tensor, *, empty: Tensor, estimate: Tensor
) -> Contributions:
    """Return the signed contribution of every cell to the months that the network says.

    Args:
        network: the member, in evaluation mode.
        feature_map: ``(batch, channels, rows, columns)`` from ``network.features``.
        sex: ``(batch, 1)`` float32, 1.0 male, 0.0 female.
        empty: the same for one empty exposure, or for one each, from ``empty_exposure``.
        estimate: ``(batch,)`` months, what the head said to this map and sex.
    """
    try:
        cells = differences(network, feature_map, sex, empty=empty)
    except NeitherLineNorBendError:
        cells = integrated_gradients(network, feature_map, sex, empty=empty)
    return Contributions(months=cells, intercept_months=estimate - cells.sum(dim=(1, 2)))


def integrated_gradients(
    network: AgeNetwork, feature_map: Tensor, sex: Tensor, *, empty: Tensor, steps: int = STEPS
) -> Tensor:
    """Return the months of every cell, ``(batch, rows, columns)``, for any network.

    Args as ``contributions``; ``steps``: points on the line between the two maps.
    """
    start = empty.expand_as(feature_map)
    difference = feature_map.detach().float() - start
    middles = (torch.arange(steps, device=feature_map.device) + 0.5) / steps
    shares = middles.repeat_interleave(feature_map.shape[0]).view(-1, 1, 1, 1)  # (S*B, 1, 1, 1)
    with torch.enable_grad():
        between = start.repeat(steps, 1, 1, 1) + shares * difference.repeat(steps, 1, 1, 1)
        between = between.requires_grad_()
        months = network.head(between, sex.repeat(steps, 1))  # (S*B,)
        (gradient,) = torch.autograd.grad(months.sum(), between)
    mean_gradient = gradient.view(steps, *feature_map.shape).mean(dim=0)
    return (difference * mean_gradient).sum(dim=1)  # (B, R, C)


def tissue_share(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much of each field of the grid is tissue, ``(GRID, GRID)`` 0 to 1.

    Args:
        unit: ``(height, width)`` unit range, bone bright.
    """
    grey = (np.clip(unit, 0.0, 1.0) * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    tissue = (grey > TISSUE_LEVEL * threshold).astype(np.float32)
    fields = cv2.resize(tissue, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.asarray(fields, dtype=np.float32)


def onto_source_grid(
    cells: NDArray[np.float32],
    frame: Frame,
    *,
    input_size: int,
    rows: int,
    columns: int,
    tissue: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return one member's map on the grid that all members share, same sum.

    The grid covers the whole source image: field (0, 0) begins at pixel (0, 0) and the last field
    ends with the last pixel. With the symmetric padding of our networks cell ``i`` of stride ``s``
    is centred on input pixel ``s * i``, not on the middle of its share of the input; it is spread
    like a tent over what lies within ``s`` pixels of there. What lies outside the image belongs
    to its edge. A cell is wider than a finger, and compared with empty air only tissue can have
    made its months: so the tent leans towards the fields that hold tissue.

    Args:
        cells: ``(cell rows, cell columns)`` months in each cell of the feature map.
        frame: the part of the source image that the input shows.
        input_size: side of the network's input, pixels.
        rows: height of the source image.
        columns: its width.
        tissue: ``(GRID, GRID)`` share of each field that is tissue; None: all alike.

    Returns:
        ``(GRID, GRID)`` float32, months in each field.
    """
    top, height = frame.top / rows, frame.height / rows
    left, width = frame.left / columns, frame.width / columns
    down = _tents(cells.shape[0], input_size=input_size, start=top, length=height)
    across = _tents(cells.shape[1], input_size=input_size, start=left, length=width)
    weights = np.ones((GRID, GRID)) if tissue is None else tissue + AIR_WEIGHT
    in_reach = down.T @ weights @ across  # (cell rows, cell columns): the tissue in each tent
    fields: NDArray[np.float32] = (weights * (down @ (cells / in_reach) @ across.T)).astype(
        np.float32
    )
    return fields


def _tents(count: int, *, input_size: int, start: float, length: float) -> NDArray[np.float64]:
    """Return ``(GRID, count)``, the share of each cell in each field; columns add up to 1."""
    fine = (np.arange(GRID * SAMPLES) + 0.5) / (GRID * SAMPLES)
    centres = start + (np.arange(count) * (input_size / count) + 0.5) / input_size * length
    centres = np.clip(centres, fine[0], fine[-1])
    distance = np.abs(fine[:, None] - centres[None, :]) / (length / count)
    weights = np.maximum(1.0 - distance, 0.0).reshape(GRID, SAMPLES, count).sum(axis=1)
    shares: NDArray[np.float64] = weights / weights.sum(axis=0, keepdims=True)
    return shares


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
