"""Judged by the tools that a PACS engineer would use: dicom3tools and DCMTK."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from schemas.config import SrClass
from schemas.refusals import RefusalReason
from schemas.results import ResultContent
from tests.builders import hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.secondary_capture import build_secondary_capture
from worker.reporting.structured_report import build_structured_report

VARIANTS = {
    "estimate": contents.estimated,
    "both sexes": contents.of_unknown_sex,
    "no birth date": contents.of_unknown_age,
    "calibrated by the site": contents.calibrated_girl,
    "refusal": contents.refused,
}
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
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *arguments], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode(errors="replace").splitlines()


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
    content: ResultContent = VARIANTS[variant](header)
    report = build_structured_report(content, header, sop_class=sop_class)

    assert complaints_of("dciodvfy", "-new", written(report, tmp_path / "sr.dcm")) == []


@pytest.mark.parametrize("reason", RefusalReason)
def test_a_validator_finds_nothing_in_a_refusal_of_any_kind(
    reason: RefusalReason, header: Dataset, tmp_path: Path
) -> None:
    content = contents.refused(header, reason)
    report = build_structured_report(content, header, sop_class=SrClass.BASIC_TEXT)

    assert complaints_of("dciodvfy", "-new", written(report, tmp_path / "sr.dcm")) == []


def test_a_validator_finds_nothing_in_a_report_that_supersedes_another(
    header: Dataset, tmp_path: Path
) -> None:
    content = contents.estimated(header)
    first = build_structured_report(content, header, sop_class=SrClass.COMPREHENSIVE)
    changed = contents.estimated(
        header, revision=2, predecessors=(contents.former_of(first, content),)
    )
    second = build_structured_report(changed, header, sop_class=SrClass.COMPREHENSIVE)

    assert complaints_of("dciodvfy", "-new", written(second, tmp_path / "sr.dcm")) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_validator_finds_nothing_in_any_secondary_capture(
    variant: str, header: Dataset, tmp_path: Path
) -> None:
    capture = build_secondary_capture(VARIANTS[variant](header), header, PAGE)

    assert complaints_of("dciodvfy", "-new", written(capture, tmp_path / "sc.dcm")) == []


@pytest.mark.parametrize("sop_class", SrClass)
@pytest.mark.parametrize("variant", VARIANTS)
def test_another_toolkit_reads_every_report(
    variant: str, sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed")
    report = build_structured_report(VARIANTS[variant](header), header, sop_class=sop_class)
    path = written(report, tmp_path / "sr.dcm")

    done = subprocess.run(["dsrdump", path], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode(errors="replace")


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


#: What PixelMed says of any TID 1501 report with properties: the procedure that LOINC names
#: is not in CID 100, and TID 300 rows 9 and 10 are "NUM *", so that it takes properties for them.
PIXELMED_BASELINE = (
    '(24724-7,LN,"XR Bones Views for bone age") not found in context group 100',
    "Template 300 Measurement/[Row 1] NUM */[Row 9] NUM *",
    "Template 300 Measurement/[Row 1] NUM */[Row 10] NUM *",
)
PIXELMED = Path("/usr/share/java/pixelmed.jar")  # Debian: pixelmed-apps default-jre-headless


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["estimate", "refusal"])
def test_a_validator_of_templates_finds_no_more_than_its_baseline(
    variant: str, header: Dataset, tmp_path: Path
) -> None:
    if shutil.which("java") is None or not PIXELMED.exists():
        pytest.skip("PixelMed is not installed (Debian: pixelmed-apps default-jre-headless)")
    report = build_structured_report(
        VARIANTS[variant](header), header, sop_class=SrClass.COMPREHENSIVE
    )
    # Java 17 limits the XSLT that PixelMed is written in
    limits = [f"-Djdk.xml.xpath{one}=0" for one in ("ExprGrpLimit", "ExprOpLimit", "TotalOpLimit")]
    main = "com.pixelmed.validate.DicomSRValidator"

    said = said_by("java", *limits, "-cp", PIXELMED, main, written(report, tmp_path / "sr.dcm"))

    assert "IOD validation complete" in said
    errors = [line for line in said if line.startswith("Error")]
    assert [line for line in errors if not any(known in line for known in PIXELMED_BASELINE)] == []
