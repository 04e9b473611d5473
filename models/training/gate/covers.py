"""Casts and metal over a hand, made up: no archive here holds real ones."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.gate.made_up import (
    Extent,
    Picture,
    Random,
    find_extent,
    find_tissue,
    happens,
    resized,
)

#: thickness of a cast, share of the picture's height
CAST_THICKNESS = (0.02, 0.05)
#: what fibreglass and plaster add, share of the range between air and bone
CAST_HAZE = (0.25, 0.75)
#: metal is brighter than any bone; lead markers of the same images are as bright
METAL_LEVEL = (1.2, 1.8)

Numbers = NDArray[np.float32]


def _shell(tissue: NDArray[np.bool_], *, thickness: int) -> Numbers:
    """Return how much of a tube round the limb each ray meets, 1.0 at its rim.

    A ray at distance x from the axis of a tube of radii r and R meets sqrt(R² - x²) - sqrt(r² - x²)
    of its wall on either side: little in the middle, most at the rim.
    """
    columns = tissue.shape[1]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thickness + 1, 2 * thickness + 1))
    grown = cv2.dilate(tissue.astype(np.uint8), disc).astype(np.bool_)
    left, right = grown.argmax(axis=1), columns - grown[:, ::-1].argmax(axis=1)
    found = np.stack([left, right], axis=1).astype(np.float32)
    ends = cv2.blur(found, (1, 4 * thickness + 1))  # plaster follows no single finger
    outer = np.maximum((ends[:, 1] - ends[:, 0]) / 2, 1.0)[:, None]
    away = np.arange(columns, dtype=np.float32)[None] - ends.mean(axis=1)[:, None]
    inner = np.maximum(outer - thickness, 0.0)
    wall = np.sqrt(np.maximum(outer**2 - away**2, 0)) - np.sqrt(np.maximum(inner**2 - away**2, 0))
    rim = np.sqrt(np.maximum(outer**2 - inner**2, 1.0))
    return np.asarray(wall / rim, dtype=np.float32)


def in_a_cast(unit: Picture, random: Random) -> Picture:
    """Return a hand in plaster or fibreglass: a bright tube round the forearm that ends above."""
    rows, columns = unit.shape
    extent = find_extent(unit)
    thickness = max(2, round(random.uniform(*CAST_THICKNESS) * rows))
    shell = _shell(find_tissue(unit), thickness=thickness)
    end = random.uniform(0.25, 0.6)  # the cast reaches from the forearm up to here
    down, across = np.mgrid[0:rows, 0:columns].astype(np.float32)
    middle = (extent.left + extent.right) / 2
    edge = extent.top + end * (rows - extent.top)
    edge = edge + random.uniform(-0.3, 0.3) * (across - middle)
    reach = cv2.GaussianBlur((down > edge).astype(np.float32), (0, 0), rows / 150)
    grain = random.normal(size=(max(2, rows // 10), max(2, columns // 10))).astype(np.float32)
    pitch = random.uniform(0.04, 0.12) * rows  # of the windings of the bandage
    windings = np.sin(2 * np.pi * (down + random.uniform(-0.5, 0.5) * across) / pitch)
    texture = 1 + 0.1 * resized(grain, rows=rows, columns=columns) + 0.06 * windings
    base = random.uniform(0.35, 0.7)  # of the rim, in the middle of the tube
    wall = reach * texture * np.where(shell > 0, base + (1 - base) * shell, 0)
    haze = random.uniform(*CAST_HAZE)
    return np.asarray(unit * (1 - 0.35 * haze * reach) + haze * wall, dtype=np.float32)


def _place(bone: NDArray[np.intp], extent: Extent, random: Random) -> NDArray[np.float64]:
    """Return a point on a bone, or in the middle of the hand where none can be told."""
    if not len(bone):
        return np.array([extent.left + extent.right, extent.top + extent.bottom]) / 2
    row, column = bone[int(random.integers(len(bone)))]
    return np.array([column, row], dtype=np.float64)


def _draw_piece(
    metal: NDArray[np.uint8], centre: NDArray[np.float64], *, is_plate: bool, random: Random
) -> None:
    """Draw a wire, or a plate with its screws, about along the limb."""
    rows = metal.shape[0]
    angle = random.normal(np.pi / 2, 0.45)
    half = random.uniform(0.06, 0.17) * rows * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple(int(one) for one in point) for point in (centre - half, centre + half)]
    width = max(2, round(rows * (random.uniform(0.02, 0.045) if is_plate else 0.012)))
    cv2.line(metal, ends[0], ends[1], color=255, thickness=width)
    for share in np.linspace(-0.8, 0.8, 5) if is_plate else ():
        at = centre + share * half
        across = np.array([-half[1], half[0]]) / np.linalg.norm(half) * width
        screw = [tuple(int(one) for one in point) for point in (at - across, at + across)]
        cv2.line(metal, screw[0], screw[1], color=255, thickness=max(1, width // 3))


def with_implants(unit: Picture, random: Random) -> Picture:
    """Return a hand with one to three wires and plates of metal in or on its bones."""
    metal = np.zeros(unit.shape, dtype=np.uint8)
    extent, tissue = find_extent(unit), find_tissue(unit)
    bright = np.quantile(unit[tissue], 0.6) if tissue.any() else 1.0
    bone = np.argwhere(tissue & (unit >= bright))
    bone = bone[bone[:, 0] > extent.top + 0.2 * (extent.bottom - extent.top)]
    for _ in range(random.integers(1, 4)):
        centre = _place(bone, extent, random)
        _draw_piece(metal, centre, is_plate=happens(random, 0.6), random=random)
    cover = cv2.GaussianBlur(metal.astype(np.float32) / 255, (0, 0), unit.shape[0] / 400)
    level = random.uniform(*METAL_LEVEL)
    return np.asarray(unit * (1 - cover) + level * cover, dtype=np.float32)
