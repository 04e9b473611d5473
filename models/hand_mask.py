"""Where is the hand? The mask network's answer, cleaned, for members that want the hand alone.

Thresholds and order are those that deeplasia-service documents. One thing is done otherwise: where
no hand is found, that service reads the whole image in silence; here the image is refused.
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.foreign_preprocessing import Grey, cut_out
from models.networks.fast_surfer_mask import FastSurferMask
from schemas.errors import UnsuitableImageError
from schemas.refusals import RefusalReason

LEAST_PROBABILITY = 0.25  #: of a pixel of the hand
SURE_PROBABILITY = 0.99  #: the hand is the largest region that holds such a pixel


class NoHandFoundError(UnsuitableImageError):
    """The mask network sees no hand."""

    def __init__(self, *, probability: float) -> None:
        super().__init__(
            RefusalReason.NOT_A_HAND,
            keyword="greatest probability of a hand",
            found=f"{probability:.3g}",
            expected=f"a region above {LEAST_PROBABILITY}",
        )


def hand_probability(
    grey: Grey, *, network: FastSurferMask, size: int, device: torch.device
) -> NDArray[np.float32]:
    """Return ``(rows, columns)`` 0 to 1: how probably each pixel belongs to the hand.

    The picture goes to the network in the middle of a black square, at ``size``, from 0 to 1.
    """
    rows, columns = grey.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    square = cut_out(grey, top=-top, left=-left, height=side, width=side)
    small = cv2.resize(square, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    unit = (small - small.min()) / max(float(np.ptp(small)), 1.0)
    with torch.no_grad():
        answer: Tensor = network(torch.from_numpy(unit)[None, None].to(device))
    back = cv2.resize(answer[0].float().cpu().numpy(), (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(back[top : top + rows, left : left + columns], dtype=np.float32)


def choose_hand(probability: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the hand, ``(rows, columns)``, without holes.

    Of the regions above ``LEAST_PROBABILITY`` it is the largest that holds a pixel above
    ``SURE_PROBABILITY``, or else the largest of all.

    Raises:
        NoHandFoundError: there is no such region.
    """
    likely = (probability > LEAST_PROBABILITY).astype(np.uint8)
    outlines, _ = cv2.findContours(likely, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    regions = []
    for outline in sorted(outlines, key=cv2.contourArea, reverse=True):
        filled = np.zeros(probability.shape, dtype=np.uint8)
        cv2.drawContours(filled, [outline], -1, color=1, thickness=cv2.FILLED)
        region: NDArray[np.bool_] = filled.astype(np.bool_)
        if probability[region].max() > SURE_PROBABILITY:
            return region
        regions.append(region)
    if not regions:
        raise NoHandFoundError(probability=float(probability.max()))
    return regions[0]
