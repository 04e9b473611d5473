"""A result never lands under a second patient: what is copied is copied byte for byte."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from schemas.config import SrClass
from tests.builders import ABSENT, hand_radiograph, write_file
from tests.worker.reporting import contents
from worker.reporting.patient_study import COPIED_KEYWORDS
from worker.reporting.structured_report import build_structured_report

# as hospitals send it, and as no encoder would write it again: an escape sequence too many
ODD_NAME = b"Yamada^Tarou=\x1b$B;3ED\x1b(B\x1b(B^\x1b$BB@O:\x1b(B"
ODD_ID = b" 0047 11 "
EVERY_SYNTAX = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


def raw(dataset: Dataset, keyword: str) -> bytes:
    element = dataset.get_item(keyword)
    assert isinstance(element, RawDataElement)
    return element.value or b""


def put_raw(dataset: Dataset, keyword: str, value: bytes) -> None:
    """Set the bytes of an attribute that came over the network."""
    element = dataset.get_item(keyword)
    assert isinstance(element, RawDataElement)
    dataset[element.tag] = element._replace(value=value, length=len(value))


def as_received(dataset: Dataset) -> Dataset:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def report_on(header: Dataset, made: Dataset) -> Dataset:
    """Return the report as its receiver reads it."""
    content = contents.estimated(made)
    report = build_structured_report(content, header, sop_class=SrClass.COMPREHENSIVE)
    return as_received(report)


def with_odd_bytes(path: Path, syntax: UID) -> Dataset:
    """Return a received radiograph whose name and ID no encoder would have written."""
    made = hand_radiograph(SpecificCharacterSet=["", "ISO 2022 IR 87"])
    header = dcmread(write_file(made, path, transfer_syntax=syntax), stop_before_pixels=True)
    put_raw(header, "PatientName", ODD_NAME)
    put_raw(header, "PatientID", ODD_ID)
    return header


@pytest.mark.parametrize("syntax", EVERY_SYNTAX, ids=lambda syntax: syntax.name)
def test_name_with_id_stay_byte_for_byte_as_they_came(syntax: UID, tmp_path: Path) -> None:
    header = with_odd_bytes(tmp_path / "image.dcm", syntax)

    report = report_on(header, hand_radiograph())

    assert raw(report, "PatientName").rstrip(b" ") == ODD_NAME
    assert raw(report, "PatientID").rstrip(b" ") == ODD_ID.rstrip(b" ")
    assert list(report.SpecificCharacterSet) == ["", "ISO 2022 IR 87"]


def test_a_value_that_breaks_the_rules_is_copied_as_well() -> None:
    made = hand_radiograph()
    received = as_received(made)
    wrong = {"PatientSex": b"female", "PatientBirthDate": b"2015"}
    for keyword, value in wrong.items():
        put_raw(received, keyword, value)

    report = report_on(received, made)

    assert {keyword: raw(report, keyword).strip() for keyword in wrong} == wrong


def test_every_attribute_of_patient_and_study_is_copied() -> None:
    made = hand_radiograph(
        IssuerOfPatientID="HOSPITAL",
        OtherPatientNames="Lind^A",
        PatientAge="010Y",
        PatientSize="1.41",
        StudyID="77",
        AccessionNumber="A17",
        ReferringPhysicianName="Berg^Bo",
        RequestingService="ORTHO",
    )
    received = as_received(made)

    report = report_on(received, made)

    missing = [word for word in COPIED_KEYWORDS if word in received and word not in report]
    assert missing == []
    changed = [word for word in COPIED_KEYWORDS if report.get(word) != received.get(word)]
    assert [word for word in changed if received.get(word)] == []


def test_a_sequence_is_copied_with_its_items() -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "24724-7", "LN", "bone age"
    made = hand_radiograph(ProcedureCodeSequence=Sequence([code]))

    report = report_on(as_received(made), made)

    assert report.ProcedureCodeSequence[0].CodeValue == "24724-7"


def test_what_the_image_lacks_is_present_but_empty() -> None:
    made = hand_radiograph(PatientBirthDate=ABSENT, AccessionNumber=ABSENT, StudyTime=ABSENT)

    report = report_on(as_received(made), made)

    for keyword in ("PatientBirthDate", "AccessionNumber", "StudyTime"):
        assert report[keyword].is_empty


def test_nothing_else_of_the_header_is_copied() -> None:
    made = hand_radiograph(InstitutionName="Children's", OperatorsName="Doe^Jo")

    report = report_on(as_received(made), made)

    assert "InstitutionName" not in report
    assert "OperatorsName" not in report


def test_the_header_itself_is_left_alone() -> None:
    made = hand_radiograph()
    header = as_received(made)
    before = header.to_json()

    report_on(header, made)

    assert header.to_json() == before
