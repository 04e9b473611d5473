"""The image files of a data folder, in zips or in folders, read where they lie."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.annotations import Annotation, NoTrainingDataError, Row, TrainingDataError
from schemas.errors import PermanentError

StoredImage = NDArray[np.uint8] | NDArray[np.uint16]


class UnreadableImageError(PermanentError):
    """A file is no picture that OpenCV reads, or it is cut off."""

    code = "train.image"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"{path} is no picture that can be read, or it is cut off. "
            "Fetch it again, or take its row out of the table."
        )
        self.path = path


def decode(stored: bytes, *, path: Path) -> StoredImage:
    """Return a grey picture, ``(rows, columns)``, with the depth that the file has.

    Raises:
        UnreadableImageError: it is none.
    """
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    pixels = cv2.imdecode(np.frombuffer(stored, dtype=np.uint8), flags) if stored else None
    if pixels is None:
        raise UnreadableImageError(path=path)
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, dtype=np.uint8)
    if pixels.dtype == np.uint16:
        return np.asarray(pixels, dtype=np.uint16)
    raise UnreadableImageError(path=path)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        problem = "it is no zip, or it is cut off: fetch it again"
        raise TrainingDataError(path=path, problems=[problem]) from error


class RadiographArchive:
    """The images of a data folder; each zip is opened once.

    ``dir`` of an annotation names ``DIR.zip`` with ``DIR/image`` inside, or the folder ``DIR``; a
    folder may hold one more of its own name, as Kaggle unpacks it, or have parts ``DIR-1``, ``-2``.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._zips: dict[str, zipfile.ZipFile | None] = {}

    def read(self, *, folder: str, image_id: str) -> StoredImage:
        """Return one decoded image, ``(rows, columns)``, bone bright.

        Raises:
            NoTrainingDataError: neither zip nor folder is there, or the image is not in it.
            UnreadableImageError: the file is no picture.
            TrainingDataError: the zip is none, or cut off.
        """
        archive = self._zip(folder)
        if archive is not None:
            name = f"{folder}/{image_id}"
            path = self._data / f"{folder}.zip" / name
            try:
                return decode(archive.read(name), path=path)
            except KeyError as error:
                raise NoTrainingDataError(path=path) from error
            except (zipfile.BadZipFile, zlib.error) as error:
                raise UnreadableImageError(path=path) from error
        found = self._find(folder, image_id)
        if found is None:
            whole = self._data / folder
            raise NoTrainingDataError(
                path=whole / image_id if whole.exists() else self._data / f"{folder}.zip"
            )
        return decode(found.read_bytes(), path=found)

    def problems_of(self, images: Sequence[Annotation | Row]) -> list[str]:
        """Name every image that is not there; those of a folder that is not there, together."""
        missing: dict[str, dict[str, None]] = {}  # a row may come twice
        for one in images:
            if one.image_id and not self._has(one):
                missing.setdefault(one.folder, {})[one.image_id] = None
        problems = []
        for folder, names in missing.items():
            if self._is_there(folder):
                problems += [f"missing image: {folder}/{name}" for name in names]
            else:
                what = f"{folder}, and no {folder}.zip, for {len(names)} images"
                problems.append(f"there is no folder {what}")
        return problems

    def _is_there(self, folder: str) -> bool:
        places = (folder, f"{folder}-1", f"{folder}-2")
        return self._zip(folder) is not None or any((self._data / one).is_dir() for one in places)

    def _has(self, one: Annotation | Row) -> bool:
        archive = self._zip(one.folder)
        if archive is not None:
            return f"{one.folder}/{one.image_id}" in archive.NameToInfo
        return self._find(one.folder, one.image_id) is not None

    def _zip(self, folder: str) -> zipfile.ZipFile | None:
        if folder not in self._zips:
            path = self._data / f"{folder}.zip"
            self._zips[folder] = _opened(path) if path.exists() else None
        return self._zips[folder]

    def _find(self, folder: str, image_id: str) -> Path | None:
        for place in (folder, f"{folder}/{folder}", f"{folder}-1", f"{folder}-2"):
            path = self._data / place / image_id
            if path.is_file():
                return path
        return None


class MaskFolders:
    """Masks of hands in one of several folders, named as the image, or as its stem with .png."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def find(self, image_id: str) -> list[Path]:
        """Return the mask of an image in each folder that has one."""
        names = dict.fromkeys((image_id, f"{Path(image_id).stem}.png"))
        paths = (folder / name for folder in self._folders for name in names)
        return [path for path in paths if path.is_file()]

    def problems_of(self, images: Sequence[Annotation | Row]) -> list[str]:
        """Name every folder that is not there, and every image without a mask."""
        if not self._folders:
            return ["the recipe reads the hand alone: give --masks, a folder with a mask of each"]
        gone = [f"there is no folder of masks {one}" for one in self._folders if not one.is_dir()]
        if len(gone) == len(self._folders):
            return gone
        names = dict.fromkeys(one.image_id for one in images if one.image_id)
        return gone + [f"missing mask: {name}" for name in names if not self.find(name)]

    def read(self, image_id: str, *, choice: int) -> NDArray[np.bool_]:
        """Return ``(rows, columns)``, True on the hand: above half of the mask's brightest value.

        Args:
            image_id: of the image.
            choice: any number; takes one of several masks.

        Raises:
            NoTrainingDataError: no folder has a mask of it.
            UnreadableImageError: the mask is no picture, or empty.
        """
        found = self.find(image_id)
        if not found:
            where = self._folders[0] if self._folders else Path("(no folder of masks)")
            raise NoTrainingDataError(path=where / image_id)
        path = found[choice % len(found)]
        mask = decode(path.read_bytes(), path=path)
        hand: NDArray[np.bool_] = mask > mask.max() // 2
        if not hand.any():
            raise UnreadableImageError(path=path)
        return hand
