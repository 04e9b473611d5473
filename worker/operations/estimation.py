"""One file on disk to its finding: what `boneage estimate` does, without queue or network."""

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from schemas.config import SrClass
from schemas.errors import BoneAgeError, UnsuitableImageError
from schemas.images import Sex
from schemas.jobs import Outcome
from schemas.results import ResultContent
from worker.inference.estimate import Finding, ImageReader
from worker.inference.pictures import Wrapping, read_picture, wrap_as_radiograph
from worker.inference.received import ReceivedImage, received
from worker.operations.pictures import write_readable
from worker.operations.records import Record
from worker.reporting.structured_report import build_structured_report


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReading:
    """What came of one file."""

    path: Path
    finding: Finding | None  #: an estimate or a refusal; None: the file gave nothing to report on
    reason: str = ""  #: coded, where there is no number
    message: str = ""  #: the same in words


def radiograph_of(path: Path, *, sex: Sex | None, uid_seed: str = "") -> Dataset:
    """Return a file as a DICOM data set; a picture is wrapped as DX of an unnamed patient.

    Args:
        path: DICOM, PNG, JPEG, WebP or TIFF.
        sex: goes into the header of a wrapped picture; a DICOM file keeps its own.
        uid_seed: another seed gives a wrapped picture other UIDs.

    Raises:
        UnsuitableImageError: neither DICOM nor a grey picture.
        OSError: the file cannot be read.
    """
    try:
        return dcmread(path)
    except InvalidDicomError:
        taken_at = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
        wrapping = Wrapping(taken_at=taken_at, sex=sex, uid_seed=uid_seed)
        return wrap_as_radiograph(read_picture(path), wrapping)


def read_file(path: Path, reader: ImageReader, *, sex: Sex | None) -> FileReading:
    """Return what the release says about one file; what must not be read is a refusal.

    Args:
        path: DICOM, PNG, JPEG, WebP or TIFF.
        reader: release and site profile.
        sex: what the operator said; it goes before the header.
    """
    try:
        image = received(radiograph_of(path, sex=None))
        return _read(path, image, reader, sex=sex)
    except UnsuitableImageError as error:
        return FileReading(path=path, finding=None, reason=error.reason, message=str(error))
    except BoneAgeError as error:
        return FileReading(path=path, finding=None, reason=error.code, message=str(error))


def _read(path: Path, image: ReceivedImage, reader: ImageReader, *, sex: Sex | None) -> FileReading:
    try:
        return FileReading(path=path, finding=reader.read(image, sex=sex))
    except UnsuitableImageError as error:
        finding = reader.refuse(image, reason=error.reason, detail=str(error), sex=sex)
        return FileReading(path=path, finding=finding, reason=error.reason, message=str(error))


def write_objects(reading: FileReading, folder: Path) -> tuple[Path, ...]:
    """Write SR, SC, PNG, PDF and HTML under the name of the source; return their paths."""
    finding = reading.finding
    if finding is None:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    is_refusal = finding.content.outcome is Outcome.REFUSED
    report = build_structured_report(
        finding.content,
        dcmread(BytesIO(finding.header)),
        sop_class=SrClass.ENHANCED if is_refusal else SrClass.COMPREHENSIVE,
    )
    stem = reading.path.stem
    paths = tuple(folder / f"{stem}-{kind}" for kind in ("sr.dcm", "sc.dcm"))
    report.save_as(paths[0], enforce_file_format=True)
    finding.capture.save_as(paths[1], enforce_file_format=True)
    return paths + write_readable(folder, stem=stem, content=finding.content, page=finding.page)


def reading_record(reading: FileReading) -> Record:
    """Return one entry of ``boneage estimate --json``: the keys of a job, and more."""
    content = reading.finding.content if reading.finding else None
    return {
        "file": str(reading.path),
        "job_id": None,
        "state": None,
        "outcome": content.outcome.value if content else Outcome.REFUSED.value,
        "reason": reading.reason or None,
        "sop_instance_uid": content.source.sop_instance_uid if content else None,
        "study_instance_uid": content.source.study_instance_uid if content else None,
        "calling_ae": None,
        "attempt": None,
        "revision": None,
        "received_at": None,
        "updated_at": content.created_at.isoformat() if content else None,
        **(_numbers(content) if content else _NO_NUMBERS),
        "destinations": [],
        "timings_ms": reading.finding.timings_ms if reading.finding else {},
    }


_NO_NUMBERS: Record = {
    "bone_age_months": None,
    "interval_months": None,
    "sex": None,
    "sex_source": None,
    "release": None,
    "estimates": [],
    "members": [],
    "chronological_age_months": None,
    "z_score": None,
    "class": None,
    "reference": None,
    "flags": [],
}


def _numbers(content: ResultContent) -> Record:
    """Return what was estimated; no headline where both sexes were read."""
    source, assessment = content.source, content.assessment
    headline = content.estimates[0] if len(content.estimates) == 1 else None
    age = source.chronological_age
    return _NO_NUMBERS | {
        "bone_age_months": headline.age_months if headline else None,
        "interval_months": [headline.interval.low_months, headline.interval.high_months]
        if headline
        else None,
        "sex": source.sex.sex.value if source.sex.sex else None,
        "sex_source": source.sex.source.value,
        "release": content.release.name,
        "estimates": [
            {
                "sex": one.sex.value,
                "bone_age_months": one.age_months,
                "interval_months": [one.interval.low_months, one.interval.high_months],
            }
            for one in content.estimates
        ],
        "members": [
            {"member": member.member, "sex": one.sex.value, "age_months": member.age_months}
            for one in content.estimates
            for member in one.members
        ],
        "chronological_age_months": age.months if age else None,
        "z_score": assessment.z_score if assessment else None,
        "class": assessment.maturity.value if assessment else None,
        "reference": assessment.reference.value if assessment else None,
        "flags": [flag.value for flag in content.flags],
    }
