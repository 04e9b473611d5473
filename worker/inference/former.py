"""An image whose file retention has removed: enough is kept to know it again, no more."""

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from schemas.errors import UnsuitableImageError
from schemas.retention import ImageFingerprint
from worker.inference.attributes import lenient_values, text_of
from worker.inference.decoding import stored_values
from worker.inference.resend import RELEVANT, Change

#: what decides how stored values are shown; PS3.3, C.7.6.3, C.11.1 and C.11.2
_SHOWN_BY: Final = (
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
)


def fingerprint(dataset: Dataset, *, key: bytes) -> ImageFingerprint | None:
    """Return what is kept of an image; ``None`` where its pixels cannot be read.

    Args:
        dataset: with its pixels, in any transfer syntax.
        key: of this installation; without it, nobody can guess a patient from what is kept.
    """
    try:
        stored = stored_values(dataset)
    except UnsuitableImageError:
        return None
    pixels = hashlib.sha256(f"{stored.shape}".encode())
    pixels.update(np.ascontiguousarray(stored, dtype="<i4").tobytes())
    with lenient_values():
        facts = "\n".join(text_of(dataset, keyword) for keyword in (*RELEVANT, *_SHOWN_BY))
    return ImageFingerprint(
        pixels=pixels.hexdigest(),
        facts=hmac.new(key, facts.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest(),
    )


def fingerprint_of_file(key: bytes) -> Callable[[Path], ImageFingerprint | None]:
    """Return what takes the fingerprint of a spooled file; ``None`` where it is no image."""

    def take(path: Path) -> ImageFingerprint | None:
        try:
            return fingerprint(dcmread(path), key=key)
        except (FileNotFoundError, InvalidDicomError, EOFError):
            return None

    return take


def change_since(former: ImageFingerprint, newer: Dataset, *, key: bytes) -> Change:
    """Compare a content with what is kept of the one that the current result was made from.

    Where what is shown has changed, and nobody can say by how much, the image is read again.
    """
    found = fingerprint(newer, key=key)
    if found is None or found.pixels != former.pixels:
        return Change.IMAGE
    return Change.NOTHING_RELEVANT if found == former else Change.FACTS
