from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from tests.builders import ABSENT, hand_radiograph, write_file
from worker.inference.header import MissingIdentityError
from worker.inference.received import (
    SpoolFileBrokenError,
    SpoolFileMissingError,
    SpoolUnreadableError,
    read_spooled,
    received,
)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_the_header_is_the_source_without_pixels(tmp_path: Path, syntax: UID) -> None:
    source = hand_radiograph()
    write_file(source, tmp_path / "a.dcm", transfer_syntax=syntax)

    header = read_spooled(tmp_path, "a.dcm").read_header()

    assert header.file_meta.TransferSyntaxUID == syntax
    del source.PixelData
    assert header == source


def test_the_header_keeps_bytes_that_its_character_set_cannot_read(tmp_path: Path) -> None:
    name = b"M\xfcller^J\xf6rg"  # Latin-1, in a file that says nothing of it
    plain = BytesIO()
    hand_radiograph(PatientName="Muller^Jorg").save_as(plain, enforce_file_format=True)
    content = plain.getvalue().replace(b"Muller^Jorg", name).replace(b"ISO_IR 192", b"ISO_IR 6  ")
    (tmp_path / "a.dcm").write_bytes(content)

    assert name in read_spooled(tmp_path, "a.dcm").header


def test_reading_the_data_set_does_not_touch_the_header(tmp_path: Path) -> None:
    write_file(hand_radiograph(PatientName="Ödön^Ő"), tmp_path / "a.dcm")
    image = read_spooled(tmp_path, "a.dcm")

    image.dataset.PatientName = "Other"

    assert str(image.read_header().PatientName) == "Ödön^Ő"


def test_a_data_set_that_was_never_a_file_has_a_header_too() -> None:
    source = hand_radiograph()

    header = received(source).read_header()

    assert header.SOPInstanceUID == source.SOPInstanceUID
    assert "PixelData" not in header


def test_a_file_that_lies_about_its_encoding_has_a_header_that_does_not(tmp_path: Path) -> None:
    write_file(hand_radiograph(), tmp_path / "a.dcm", transfer_syntax=ImplicitVRLittleEndian)
    lying = dcmread(tmp_path / "a.dcm")
    lying.file_meta.TransferSyntaxUID = JPEG2000Lossless  # whose elements are explicit

    header = received(lying).read_header()

    assert header.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert header.PatientID == "4711"


def test_an_object_that_does_not_say_what_it_is_has_no_header() -> None:
    with pytest.raises(MissingIdentityError, match="SOPInstanceUID"):
        received(hand_radiograph(SOPInstanceUID=ABSENT))


def test_a_file_that_is_gone_is_a_permanent_error(tmp_path: Path) -> None:
    with pytest.raises(SpoolFileMissingError, match=r"spool/a\.dcm"):
        read_spooled(tmp_path, "spool/a.dcm")


def test_a_file_that_is_no_dicom_is_a_permanent_error(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"\0" * 500)

    with pytest.raises(SpoolFileBrokenError):
        read_spooled(tmp_path, "a.dcm")


def test_a_disk_that_refuses_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").mkdir()  # a read of it fails, as that of a broken mount does

    with pytest.raises(SpoolUnreadableError):
        read_spooled(tmp_path, "a.dcm")


def test_the_header_of_a_file_can_be_read_by_anybody(tmp_path: Path) -> None:
    write_file(hand_radiograph(), tmp_path / "a.dcm", transfer_syntax=JPEG2000Lossless)

    header = dcmread(BytesIO(read_spooled(tmp_path, "a.dcm").header))

    assert header.PatientID == "4711"
