"""PixelMed's validator of SR templates, in one Java machine for all files that it is given.

The machine takes ten seconds to start, a report with numbers three, one of texts none.
`python -m tests.worker.reporting.pixelmed` validates every class of every variant and prints what
is beyond the baseline.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.orthanc import missing

JAR = Path("/usr/share/java/pixelmed.jar")
_MODULE = "tests.worker.reporting.pixelmed"
_FINISHED = "IOD validation complete"
#: What it says of any TID 1501 report with properties: the procedure that LOINC names is not in
#: CID 100, and TID 300 rows 9 and 10 are "NUM *", so that it takes properties for them.
_BASELINE = (
    '(24724-7,LN,"XR Bones Views for bone age") not found in context group 100',
    "Template 300 Measurement/[Row 1] NUM */[Row 9] NUM *",
    "Template 300 Measurement/[Row 1] NUM */[Row 10] NUM *",
)
# Java 17 limits the XSLT that PixelMed is written in
_LIMITS = tuple(
    f"-Djdk.xml.xpath{one}=0" for one in ("ExprGrpLimit", "ExprOpLimit", "TotalOpLimit")
)


def require_pixelmed() -> None:
    """Skip (or fail) the test where Java or the validator is absent."""
    if shutil.which("java") is None or not JAR.exists():
        missing("PixelMed is not installed (Debian: libpixelmed-java default-jre-headless)")


def errors_in(files: Sequence[Path]) -> dict[str, list[str]]:
    """Return, by file name, the errors that the baseline does not hold."""
    ended = subprocess.run(
        [sys.executable, "-m", _MODULE, *files], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    said: dict[str, str] = json.loads(ended.stdout)
    assert [name for name, words in said.items() if _FINISHED not in words] == []
    return {name: _beyond_baseline(words) for name, words in said.items()}


def _beyond_baseline(words: str) -> list[str]:
    errors = (line for line in words.splitlines() if line.startswith("Error"))
    return [line for line in errors if not any(known in line for known in _BASELINE)]


def _validate(files: Sequence[str]) -> dict[str, str]:
    """Return all that the validator says, by file name; loads a Java machine into this process."""
    import jpype  # type: ignore[import-untyped]  # noqa: PLC0415 - a Java machine, here alone

    jpype.startJVM(*_LIMITS, classpath=[str(JAR)])
    validator: Any = jpype.JClass("com.pixelmed.validate.DicomSRValidator")()
    said = {}
    for file in files:
        attributes: Any = jpype.JClass("com.pixelmed.dicom.AttributeList")()
        attributes.read(file)
        said[Path(file).name] = str(validator.validate(attributes))
    return said


def _validate_everything() -> int:
    from tests.worker.reporting.variants import write_every_report  # noqa: PLC0415 - not for a JVM

    with TemporaryDirectory() as folder:
        found = errors_in(write_every_report(Path(folder)))
    for name, errors in found.items():
        print(f"{name}: {len(errors)} beyond the baseline", *errors, sep="\n  ")  # noqa: T201
    return int(any(found.values()))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(_validate_everything())
    print(json.dumps(_validate(sys.argv[1:])))  # noqa: T201 - read by ``errors_in``
