"""Decoding: what a compressed radiograph costs, and whether two processes decode twice as fast.

2000 x 1500 pixels of 12 bit with the noise of a detector, the same picture in each transfer syntax,
through the worker's own reader. Processes, because that is how the worker scales (GDCM holds the
interpreter while it decodes); the limit are as many cores that never wait, by the processor time
that one process takes. OpenJPEG decodes one image on all cores by itself.
"""

import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time

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
IN_PROCESSES = ("JPEG lossless", "JPEG 2000")
PROCESSES = 2
IMAGES = 8


def measure(*, runs: int) -> list[Figure]:
    """Return milliseconds for an image, and images a second by two processes; medians."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: _file(Path(folder), name) for name in SYNTAXES}
        return [one for name, path in files.items() for one in _figures(name, path, runs=runs)]


def _figures(name: str, path: Path, *, runs: int) -> Iterator[Figure]:
    alone = [_decoded(path, processes=1) for _ in range(runs)]
    seconds = statistics.median(whole for whole, _ in alone)
    yield Figure(name=f"{name}, one process", value=seconds * 1000 / IMAGES, unit="ms")
    if name in IN_PROCESSES:
        together = statistics.median(
            whole for whole, _ in (_decoded(path, processes=PROCESSES) for _ in range(runs))
        )
        # a decoder may use several cores by itself, as that of JPEG 2000 does
        processor_time = statistics.median(used for _, used in alone)
        yield Figure(
            name=f"{name}, {PROCESSES} processes",
            value=IMAGES / together,
            unit="images/s",
            peer=f"{PROCESSES} cores that never wait",
            peer_value=PROCESSES * IMAGES / processor_time,
            aim=Aim(at_least=0.8),
        )


def _decoded(path: Path, *, processes: int) -> tuple[float, float]:
    """Return the seconds for all images by the clock, and those of processor time."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(_decode, [path] * 2 * processes))  # all are there, and have loaded all
        began = perf_counter()
        used = list(pool.map(_decode, [path] * IMAGES))
        return perf_counter() - began, sum(used)


def _decode(path: Path) -> float:
    """Return the seconds of processor time that one image takes."""
    began = process_time()
    stored_values(dcmread(path))
    return process_time() - began


def _file(folder: Path, name: str) -> Path:
    smooth = cv2.resize(hand_pixels(), (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR)
    noise = np.random.default_rng(1).normal(0, 12, smooth.shape)
    pixels = np.clip(smooth + noise, 0, 4095).astype(np.uint16)
    dataset = hand_radiograph(pixels, BitsStored=12)
    return write_file(dataset, folder / f"{name}.dcm", transfer_syntax=SYNTAXES[name])
