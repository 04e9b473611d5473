"""Judged by the tools that a PACS engineer would use: dicom3tools and DCMTK."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from schemas.config import SrClass
from tests.builders import hand_radiograph
from tests.orthanc import require_program
from tests.worker.reporting import contents
from tests.worker.reporting.pixelmed import errors_in, require_pixelmed
from tests.worker.reporting.variants import ESTIMATES, REFUSALS, VARIANTS, write_every_report
from worker.reporting.secondary_capture import build_heatmap_capture, build_secondary_capture
from worker.reporting.structured_report import build_structured_report

PAGE = np.zeros((60, 80, 3), dtype=np.uint8)
#: Specific Character Set and a name in it (PS3.5 annexes H to K, and what Europe sends)
CHARACTER_SETS = {
    "default": (None, "Lind^Ada"),
    "Latin 1": ("ISO_IR 100", "Größe^Zoë"),
    "UTF-8": ("ISO_IR 192", "Łódź^Ðorđe"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "half-width Japanese": (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "Chinese": ("GB18030", "Wang^XiaoDong=王^小东"),
}
# dicom3tools files Accession Number of an image under Series and that of an SR under Study; so
# it says this of every study that holds both, whatever their values are.
DIFFERENCE_OF_OPINION = "Different information entities for attribute - Element=<AccessionNumber>"


@pytest.fixture
def header() -> Dataset:
    return hand_radiograph()


def written(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def said_by(tool: str, *arguments: str | Path) -> list[str]:
    program = require_program(tool)
    done = subprocess.run([program, *arguments], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode(errors="replace").splitlines()


def exit_status_of(tool: str, *arguments: str | Path) -> int:
    program = require_program(tool)
    return subprocess.run([program, *arguments], capture_output=True, check=False).returncode


def complaints_of(tool: str, *arguments: str | Path) -> list[str]:
    """Return its errors and warnings, less the one about a private coding scheme."""
    return [
        line
        for line in said_by(tool, *arguments)
        if line.startswith(("Error", "Warning"))
        and "Unrecognized defined term = <99BONEAGE>" not in line
        and DIFFERENCE_OF_OPINION not in line
    ]


@pytest.mark.parametrize("sop_class", SrClass)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_validator_finds_nothing_in_any_class_of_any_report(
    variant: str, sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    report = build_structured_report(VARIANTS[variant](header), header, sop_class=sop_class)
    path = written(report, tmp_path / "sr.dcm")

    assert complaints_of("dciodvfy", "-new", path) == []
    assert exit_status_of("dsrdump", path) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_validator_finds_nothing_in_any_secondary_capture(
    variant: str, header: Dataset, tmp_path: Path
) -> None:
    capture = build_secondary_capture(VARIANTS[variant](header), header, PAGE)

    assert complaints_of("dciodvfy", "-new", written(capture, tmp_path / "sc.dcm")) == []


def test_a_validator_finds_nothing_in_the_heatmap_alone(tmp_path: Path) -> None:
    header = hand_radiograph(PatientOrientation=["L", "F"])
    content = contents.with_heatmap_object(header)
    content = replace(content, source=replace(content.source, patient_orientation=("L", "F")))
    capture = build_heatmap_capture(content, header, PAGE)

    assert complaints_of("dciodvfy", "-new", written(capture, tmp_path / "sc.dcm")) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_image_reports_and_captures_of_any_result_are_one_patient_in_one_study(
    variant: str, tmp_path: Path
) -> None:
    image = hand_radiograph(IssuerOfPatientID="HOSPITAL", PatientAge="010Y", AccessionNumber="A17")
    content = VARIANTS[variant](image)
    objects = [
        *(build_structured_report(content, image, sop_class=each) for each in SrClass),
        build_secondary_capture(content, image, PAGE),
    ]
    if content.has_heatmap_object:
        objects.append(build_heatmap_capture(content, image, PAGE))
    files = [written(one, tmp_path / f"{n}.dcm") for n, one in enumerate([image, *objects])]

    assert complaints_of("dcentvfy", *files) == []


@pytest.mark.parametrize("sop_class", SrClass)
@pytest.mark.parametrize("named", CHARACTER_SETS)
def test_image_report_and_capture_are_one_patient_in_every_character_set(
    named: str, sop_class: SrClass, tmp_path: Path
) -> None:
    character_set, name = CHARACTER_SETS[named]
    made = hand_radiograph(
        SpecificCharacterSet=character_set,
        PatientName=name,
        IssuerOfPatientID="HOSPITAL",
        PatientAge="010Y",
        AccessionNumber="A17",
    )
    source = written(made, tmp_path / "image.dcm")
    header = dcmread(source, stop_before_pixels=True)
    content = contents.estimated(made)
    report = build_structured_report(content, header, sop_class=sop_class)
    capture = build_secondary_capture(content, header, PAGE)
    objects = [written(report, tmp_path / "sr.dcm"), written(capture, tmp_path / "sc.dcm")]

    assert complaints_of("dcentvfy", source, *objects) == []
    assert [complaints_of("dciodvfy", "-new", one) for one in objects] == [[], []]
    assert [str(dcmread(one).PatientName) for one in objects] == [name, name]


# the other classes and variants: `python -m tests.worker.reporting.pixelmed`
@pytest.mark.slow
def test_a_validator_of_templates_finds_no_more_than_its_baseline(tmp_path: Path) -> None:
    require_pixelmed()
    numbers = (SrClass.COMPREHENSIVE_3D, SrClass.COMPREHENSIVE, SrClass.ENHANCED)
    files = [
        *write_every_report(tmp_path, ["estimate"], numbers),
        *write_every_report(tmp_path, ["both sexes"], [SrClass.COMPREHENSIVE]),
        *write_every_report(tmp_path, ESTIMATES, [SrClass.BASIC_TEXT]),
        *write_every_report(tmp_path, REFUSALS),
    ]

    found = errors_in(files)

    assert len(found) == len(files)
    assert {name: errors for name, errors in found.items() if errors} == {}
