"""Decoding: what a compressed radiograph costs, and whether two threads decode twice as fast.

2000 x 1500 pixels of 12 bit with the noise of a detector, the same picture in each transfer syntax,
through the worker's own reader. The limit is one thread times the number of threads.
"""

import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from pydicom import dcmread
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.benchmarks.figures import Aim, Figure
from tests.builders import hand_pixels, hand_radiograph, write_file
from worker.inference.decoding import stored_values

ROWS, COLUMNS = 2000, 1500
SYNTAXES: dict[str, UID] = {
    "uncompressed": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}
IN_THREADS = ("JPEG lossless", "JPEG 2000")
THREADS = 2
IMAGES = 8


def measure(*, runs: int) -> list[Figure]:
    """Return milliseconds for an image, and images a second by two threads; medians."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: _file(Path(folder), name) for name in SYNTAXES}
        return [one for name, path in files.items() for one in _figures(name, path, runs=runs)]


def _figures(name: str, path: Path, *, runs: int) -> Iterator[Figure]:
    _decode(path)
    alone = statistics.median(_seconds(path, threads=1) for _ in range(runs))
    yield Figure(name=f"{name}, one thread", value=alone * 1000 / IMAGES, unit="ms")
    if name in IN_THREADS:
        together = statistics.median(_seconds(path, threads=THREADS) for _ in range(runs))
        yield Figure(
            name=f"{name}, {THREADS} threads",
            value=IMAGES / together,
            unit="images/s",
            peer=f"one thread times {THREADS}",
            peer_value=THREADS * IMAGES / alone,
            aim=Aim(at_least=0.8),
        )


def _seconds(path: Path, *, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        began = perf_counter()
        list(pool.map(_decode, [path] * IMAGES))
        return perf_counter() - began


def _decode(path: Path) -> int:
    return stored_values(dcmread(path)).size


def _file(folder: Path, name: str) -> Path:
    smooth = cv2.resize(hand_pixels(), (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR)
    noise = np.random.default_rng(1).normal(0, 12, smooth.shape)
    pixels = np.clip(smooth + noise, 0, 4095).astype(np.uint16)
    dataset = hand_radiograph(pixels, BitsStored=12)
    return write_file(dataset, folder / f"{name}.dcm", transfer_syntax=SYNTAXES[name])
