"""One received object: its data set to read, and its header as the bytes that came."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

from pydicom import dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from schemas.errors import PermanentError, TransientError
from worker.inference.attributes import lenient_values
from worker.inference.header import uid_of

#: Pixel Data in its three forms; all else is header
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
#: implicit, little endian → the syntax that says so
_NATIVE = MappingProxyType(
    {
        (True, True): ImplicitVRLittleEndian,
        (False, True): ExplicitVRLittleEndian,
        (False, False): ExplicitVRBigEndian,
    }
)


class SpoolFileMissingError(PermanentError):
    """The image is no longer where it was kept."""

    code = "spool.missing"

    def __init__(self, *, spool_file: str) -> None:
        super().__init__(
            f"{spool_file} is not in the storage folder. Restore it from the back-up, or have the "
            "image sent again; then `boneage jobs requeue`."
        )


class SpoolFileBrokenError(PermanentError):
    """The kept file is no DICOM file any more."""

    code = "spool.broken"

    def __init__(self, *, spool_file: str) -> None:
        super().__init__(
            f"{spool_file} cannot be parsed as DICOM, although it could when it was received. "
            "Check the disk, restore it from the back-up, or have the image sent again."
        )


class SpoolUnreadableError(TransientError):
    """The disk did not give the file out."""

    code = "spool.unreadable"

    def __init__(self, *, spool_file: str, errno: int | None) -> None:
        super().__init__(
            f"{spool_file} could not be read (errno {errno}). It is tried again. Check the disk "
            "or the mount, and who may read the storage folder."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedImage:
    """A data set, and a copy of its header that nothing has decoded or touched."""

    dataset: Dataset
    header: bytes  #: a DICOM file without pixels, in the encoding and character set it came in

    def read_header(self) -> Dataset:
        """Return the header as whoever builds a report reads it, fresh each time."""
        return dcmread(BytesIO(self.header))


def received(dataset: Dataset) -> ReceivedImage:
    """Return the object with its header taken now, before anything reads the data set.

    Raises:
        MissingIdentityError: it does not say what it is; no file could be made of it.
    """
    return ReceivedImage(dataset=dataset, header=_header_bytes(dataset))


def read_spooled(root: Path, spool_file: str, *, with_pixels: bool = True) -> ReceivedImage:
    """Return the object that the listener kept; without pixels, not even their bytes are read.

    Raises:
        SpoolFileMissingError: it is gone.
        SpoolFileBrokenError: it is no DICOM.
        SpoolUnreadableError: the disk refused; waiting may help.
        MissingIdentityError: as in ``received``.
    """
    try:
        return received(dcmread(root / spool_file, stop_before_pixels=not with_pixels))
    except FileNotFoundError:
        raise SpoolFileMissingError(spool_file=spool_file) from None
    except (InvalidDicomError, EOFError):
        raise SpoolFileBrokenError(spool_file=spool_file) from None
    except OSError as error:
        raise SpoolUnreadableError(spool_file=spool_file, errno=error.errno) from error


def _header_bytes(dataset: Dataset) -> bytes:
    """Return all but the pixels as a file; elements nobody decoded keep their bytes."""
    header = Dataset()
    for tag in dataset.keys():  # noqa: SIM118 - iterating a data set decodes its elements
        if tag not in _PIXEL_TAGS:
            header[tag] = _element(dataset, tag)
    header.file_meta = FileMetaDataset()
    header.file_meta.update(getattr(dataset, "file_meta", {}))
    header.file_meta.TransferSyntaxUID = _syntax_of_header(dataset)
    is_implicit, is_little = dataset.original_encoding
    if is_implicit is not None and is_little is not None:
        header.set_original_encoding(is_implicit, is_little, dataset.original_character_set)
    target = BytesIO()
    with lenient_values():
        for keyword in ("SOPClassUID", "SOPInstanceUID"):  # without them it is no DICOM file
            uid_of(header, keyword)
        header.save_as(target, enforce_file_format=True)
    return target.getvalue()


def _element(dataset: Dataset, tag: BaseTag) -> DataElement | RawDataElement:
    """Return the element as it came; decoded only where it lacks the VR that its file promises."""
    element = dataset.get_item(tag)
    is_explicit = dataset.original_encoding[0] is False
    if is_explicit and isinstance(element, RawDataElement) and element.VR is None:
        with lenient_values():
            return dataset[tag]
    return element


def _syntax_of_header(dataset: Dataset) -> UID:
    """Return the transfer syntax that the elements are really in; a file may say another one."""
    stated = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    is_implicit, is_little = dataset.original_encoding
    if is_implicit is None or is_little is None:  # made here, never a file
        return UID(stated or ExplicitVRLittleEndian)
    if stated and (UID(stated).is_implicit_VR, UID(stated).is_little_endian) == (
        is_implicit,
        is_little,
    ):
        return UID(stated)
    return _NATIVE.get((is_implicit, is_little), ExplicitVRLittleEndian)
