"""What detectors, archives and technicians add to a picture: markers, borders, tilted fields, tone.

Every function takes a unit-range picture, 0.0 air … 1.0 bone, and returns another one, float32.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.gate.made_up import Picture, Random, happens


def with_markers(unit: Picture, random: Random) -> Picture:
    """Return the picture with a letter or a line of text in a corner, as bright as metal."""
    ink = np.zeros(unit.shape, dtype=np.uint8)
    size = unit.shape[0]
    for _ in range(random.integers(1, 3)):
        text = "".join(random.choice(list("LRD0123456789:./"), size=random.integers(1, 9)))
        column = int(random.choice([0.02, 0.7]) * unit.shape[1])
        row = int(random.choice([0.06, 0.12, 0.9, 0.97]) * size)
        scale = float(random.uniform(0.3, 0.8)) * size / 192
        cv2.putText(ink, text, (column, row), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1)
    return np.asarray(np.maximum(unit, ink.astype(np.float32) / 255), dtype=np.float32)


def in_a_tilted_field(unit: Picture, random: Random) -> Picture:
    """Return the picture in a field that lies askew on a larger plate, as scanned films often do.

    Nothing of the picture is lost; air in the field is greyer than the plate, its rim bright at
    times.
    """
    size = unit.shape[0]
    angle = np.deg2rad(random.normal(0, 8))
    reach = (abs(np.cos(angle)) + abs(np.sin(angle))) * random.uniform(1.0, 1.4)
    middle = (size - 1) / 2
    turn = reach * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = middle - turn @ np.full(2, middle)
    grey = random.uniform(0.0, 0.7)
    field = np.asarray(grey + (1 - grey) * unit, dtype=np.float32)
    if happens(random, 0.4):
        rim = max(1, round(random.uniform(0.008, 0.03) * size))
        cv2.rectangle(field, (0, 0), (size - 1, size - 1), random.uniform(0.6, 1.1), rim)
    plate = float(random.choice([0.0, 0.0, 0.0, 1.0, random.uniform(0, grey)]))
    tilted = cv2.warpAffine(
        field,
        np.column_stack([turn, offset]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=[plate],
    )
    return np.asarray(tilted, dtype=np.float32)


def with_border(unit: Picture, random: Random) -> Picture:
    """Return the picture inside a burned-in or collimated border of one grey level."""
    size = unit.shape[0]
    widest = 0.12 if happens(random, 0.6) else 0.6
    sides = (random.uniform(0, widest, size=4) * size * random.choice([0, 1, 1, 1], size=4)).astype(
        int
    )
    level = float(random.choice([0.0, 0.0, 0.0, 1.0, random.random(), -0.5]))
    top, bottom, left, right = (int(one) for one in sides)
    padded = cv2.copyMakeBorder(unit, top, bottom, left, right, cv2.BORDER_CONSTANT, value=[level])
    return np.asarray(padded, dtype=np.float32)


def toned(unit: Picture, random: Random) -> Picture:
    """Return the picture through another detector's curve, with its noise and its blur."""
    changed: NDArray[np.floating] = unit
    if happens(random, 0.5):
        gamma = float(np.exp(random.uniform(np.log(0.5), np.log(2.0))))
        changed = np.power(np.clip(changed, 0, None), np.float32(gamma))
    if happens(random, 0.3):
        down, across = np.mgrid[-0.5 : 0.5 : unit.shape[0] * 1j, -0.5 : 0.5 : unit.shape[1] * 1j]
        slope = random.normal(0, 0.15, 2)
        changed = changed + slope[0] * down + slope[1] * across
    if happens(random, 0.3):
        changed = changed + random.normal(0, random.uniform(0, 0.06), unit.shape)
    if happens(random, 0.3):
        width = random.uniform(0.3, 1.2) * unit.shape[0] / 192
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), width), dtype=np.float32)
    return np.asarray(changed, dtype=np.float32)
