import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from schemas.config import SrClass
from schemas.results import ResultContent
from tests.builders import hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.secondary_capture import build_secondary_capture
from worker.reporting.structured_report import build_structured_report

VARIANTS = {
    "estimate": contents.estimated,
    "both sexes": contents.of_unknown_sex,
    "no birth date": contents.of_unknown_age,
    "refusal": contents.refused,
}
PAGE = np.zeros((60, 80, 3), dtype=np.uint8)


@pytest.fixture
def header() -> Dataset:
    return hand_radiograph()


def written(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def complaints_of(tool: str, *arguments: str | Path) -> list[str]:
    """Return its errors and warnings, less the one about a private coding scheme."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return [
        line
        for line in lines
        if line.startswith(("Error", "Warning"))
        and "Unrecognized defined term = <99BONEAGE>" not in line
    ]


@pytest.mark.parametrize("sop_class", SrClass)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_validator_finds_nothing_in_any_class_of_any_report(
    variant: str, sop_class: SrClass, header: Dataset, tmp_path: Path
) -> None:
    content: ResultContent = VARIANTS[variant](header)
    report = build_structured_report(content, header, sop_class=sop_class)

    assert complaints_of("dciodvfy", "-new", written(report, tmp_path / "sr.dcm")) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_validator_finds_nothing_in_any_secondary_capture(
    variant: str, header: Dataset, tmp_path: Path
) -> None:
    capture = build_secondary_capture(VARIANTS[variant](header), header, PAGE)

    assert complaints_of("dciodvfy", "-new", written(capture, tmp_path / "sc.dcm")) == []
