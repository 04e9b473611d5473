"""The files of a result: the SR is built once in each class, and its bytes are kept for ever."""

import os
import threading
import uuid
from io import BytesIO
from pathlib import Path
from typing import Protocol

from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import SecondaryCaptureImageStorage

from schemas.config import SrClass
from schemas.jobs import ObjectKind
from schemas.results import CONTENT_FILE, HEADER_FILE, ResultContent, object_file
from worker.delivery.errors import ResultFileError
from worker.delivery.scu import InstancePlace, StoredObject
from worker.files import sync_folder, write_durably
from worker.reporting.identities import SR_CLASS_UIDS


class ReportBuilder(Protocol):
    """Builds a complete SR file; pure, see ``worker.reporting.structured_report``."""

    def __call__(self, content: ResultContent, header: Dataset, *, sop_class: SrClass) -> Dataset:
        """Return the report with its file meta."""
        ...


class ResultFiles:
    """The objects of results under one storage root, as files that can be sent."""

    def __init__(self, root: Path, *, build: ReportBuilder) -> None:
        self._root = root
        self._build = build
        self._building = threading.Lock()  # two lanes may want the same report

    def content(self, result_folder: str) -> ResultContent:
        """Return what the result says.

        Raises:
            ResultFileError: the file is missing or damaged.
            OSError: the disk does not answer.
        """
        try:
            text = (self._root / result_folder / CONTENT_FILE).read_bytes()
        except FileNotFoundError:
            raise ResultFileError(file=CONTENT_FILE, found="is missing") from None
        try:
            return ResultContent.from_json(text)
        except ValueError:
            # from None: pydantic's words quote the value
            raise ResultFileError(file=CONTENT_FILE, found="is damaged") from None

    def capture(self, result_folder: str, *, kind: ObjectKind) -> StoredObject:
        """Return a secondary capture that inference wrote; errors as in ``content``."""
        name = object_file(kind, SecondaryCaptureImageStorage)
        return self._checked(self._root / result_folder, name)

    def report(self, result_folder: str, content: ResultContent, *, sr: SrClass) -> StoredObject:
        """Return the report in one class; built if this is the first time, else as it lies there.

        Raises:
            ResultFileError: a file is missing, damaged or of another patient.
            OSError: the disk does not answer.
        """
        folder = self._root / result_folder
        name = object_file(ObjectKind.SR, SR_CLASS_UIDS[sr])
        with self._building:
            if not (folder / name).exists():
                header = _read(folder, HEADER_FILE)
                _write_once(folder / name, _encode(self._build(content, header, sop_class=sr)))
        return self._checked(folder, name)

    def place_of(
        self, result_folder: str, *, kind: ObjectKind, sop_class_uid: str
    ) -> InstancePlace:
        """Return where an object of the result belongs; errors as in ``content``."""
        found = _read(self._root / result_folder, object_file(kind, sop_class_uid))
        return InstancePlace(
            study_instance_uid=str(found.StudyInstanceUID),
            series_instance_uid=str(found.SeriesInstanceUID),
            sop_instance_uid=str(found.SOPInstanceUID),
        )

    def _checked(self, folder: Path, name: str) -> StoredObject:
        """Compare an object with the image's header once more, before it leaves the house."""
        found, header = _read(folder, name), _read(folder, HEADER_FILE)
        for keyword in ("StudyInstanceUID", "PatientID"):
            if _plain(found.get(keyword)) != _plain(header.get(keyword)):
                raise ResultFileError(file=name, found="is not of the image's patient and study")
        return StoredObject(
            path=folder / name,
            sop_class_uid=str(found.SOPClassUID),
            sop_instance_uid=str(found.SOPInstanceUID),
            transfer_syntax_uid=str(found.file_meta.TransferSyntaxUID),
        )


def _plain(value: object) -> str:
    """Return the letters and digits that no change of character set can alter."""
    return "".join(each for each in str(value or "") if each.isascii() and each.isalnum())


def _read(folder: Path, name: str) -> FileDataset:
    try:
        dataset = dcmread(folder / name, stop_before_pixels=True)
        _ = dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.file_meta.TransferSyntaxUID
    except FileNotFoundError:
        raise ResultFileError(file=name, found="is missing") from None
    except (InvalidDicomError, EOFError, AttributeError, ValueError):
        raise ResultFileError(file=name, found="is damaged") from None
    return dataset


def _encode(report: Dataset) -> bytes:
    buffer = BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _write_once(path: Path, content: bytes) -> None:
    """Write durably, unless another process was faster: the first bytes stay."""
    beside = path.with_name(f".{uuid.uuid4().hex}.part")
    write_durably(beside, content)
    try:
        os.link(beside, path)  # unlike a rename, never replaces
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    sync_folder(path.parent)
