"""One image by HTTP to what the release says about it: the same reader as `infer`, loaded late."""

import threading
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from time import perf_counter
from typing import Final

from PIL import Image, UnidentifiedImageError
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from starlette.concurrency import run_in_threadpool

from schemas.errors import BoneAgeError, UnsuitableImageError
from schemas.images import Sex
from schemas.refusals import RefusalReason
from worker.http.errors import BusyError, UploadTooLargeError
from worker.inference.attributes import lenient_values
from worker.inference.estimate import Examination, ImageReader
from worker.inference.header import MissingIdentityError
from worker.inference.pictures import Wrapping, decode_picture, wrap_as_radiograph
from worker.inference.received import ReceivedImage, received
from worker.logs import log

#: images that may wait while one is read; the next is asked to come again
_MOST_WAITING: Final = 4
#: three times the largest radiograph of a hand; a small file can unfold to many gigabytes
LARGEST_PIXELS: Final = 64_000_000
_PICTURES: Final = ("PNG", "JPEG", "WEBP", "TIFF")
_DICOM_PREFIX: Final = slice(128, 132)  # PS3.10, section 7.1


class Predictor:
    """Reads one image at a time; the release is loaded when the first one comes."""

    def __init__(self, load: Callable[[], ImageReader], *, now: Callable[[], datetime]) -> None:
        self._load = load
        self._now = now
        self._reader: ImageReader | None = None
        self._lock = threading.Lock()
        self._waiting = 0  # touched by the event loop alone

    async def examine(
        self, content: bytes, *, sex: Sex | None, is_whole: bool = False
    ) -> Examination:
        """Return what the release says, for one sex or for both where nobody says which.

        Args:
            content: a file: DICOM, PNG, JPEG, WebP or TIFF.
            sex: what the caller said; it goes before the header.
            is_whole: no mask network is asked, though the release may have one.

        Raises:
            BusyError: too many wait.
            UploadTooLargeError: too many pixels.
            UnsuitableImageError: it must not be read.
            BoneAgeError: the release cannot be loaded, or failed.
        """
        if self._waiting > _MOST_WAITING:
            raise BusyError
        self._waiting += 1
        try:
            return await run_in_threadpool(self._examine, content, sex, is_whole)
        finally:
            self._waiting -= 1

    def _examine(self, content: bytes, sex: Sex | None, is_whole: bool) -> Examination:  # noqa: FBT001 - for a thread
        started = perf_counter()
        try:
            image = _received(content, taken_at=self._now())
            with self._lock:
                if self._reader is None:
                    self._reader = self._load()
                examined = self._reader.examine(image, sex=sex, is_whole=is_whole)
        except BoneAgeError as error:
            log.info("predict.refused", code=error.code)
            raise
        log.info("predict.done", milliseconds=round(1000 * (perf_counter() - started)))
        return examined


def _received(content: bytes, *, taken_at: datetime) -> ReceivedImage:
    if content[_DICOM_PREFIX] == b"DICM":
        try:
            return received(_read_dicom(content))
        except MissingIdentityError as error:
            raise _unreadable("DICOM without UIDs", "whole DICOM files") from error
    _require_modest_picture(content)
    return received(wrap_as_radiograph(decode_picture(content), Wrapping(taken_at=taken_at)))


def _read_dicom(content: bytes) -> Dataset:
    if DeflatedExplicitVRLittleEndian.encode() in content:  # would unfold without any limit
        raise _unreadable("deflated DICOM", "DICOM in other transfer syntaxes")
    try:
        with lenient_values():
            dataset = dcmread(BytesIO(content))
            rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
            frames = int(dataset.get("NumberOfFrames") or 1)
    except Exception as error:
        raise _unreadable("not readable as DICOM", "whole DICOM files") from error
    _require_modest(rows * columns * frames)
    return dataset


def _require_modest_picture(content: bytes) -> None:
    """Look at the size that a picture states, before anything of it is decoded."""
    try:
        with Image.open(BytesIO(content), formats=_PICTURES) as picture:
            width, height = picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        width = height = LARGEST_PIXELS
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise _unreadable("no such picture", "PNG, JPEG, WebP, TIFF and DICOM") from error
    _require_modest(width * height)


def _require_modest(pixels: int) -> None:
    if pixels > LARGEST_PIXELS:
        limit = f"{LARGEST_PIXELS // 1_000_000} million pixels"
        raise UploadTooLargeError(found="The image", limit=limit)


def _unreadable(found: str, expected: str) -> UnsuitableImageError:
    return UnsuitableImageError(
        RefusalReason.UNREADABLE_PIXELS, keyword="the file", found=found, expected=expected
    )
