"""A job's result as files for the person at the keyboard."""

import shutil
from pathlib import Path

from pydicom import dcmread

from schemas.config import SrClass
from schemas.errors import UsageError
from schemas.jobs import JobView, Outcome
from schemas.results import CAPTURE_FILE, CONTENT_FILE, HEADER_FILE, ResultContent
from worker.operations.pictures import write_readable
from worker.reporting.structured_report import build_structured_report


class NothingToShowError(UsageError):
    """The job has no result whose files are here."""

    code = "jobs.nothing_to_show"

    def __init__(self, *, job_id: int) -> None:
        super().__init__(
            f"Job {job_id} has no result on this disk, so there is nothing to open. "
            f"`boneage jobs show {job_id}` says where it stands."
        )


def write_job(root: Path, job: JobView, folder: Path) -> tuple[Path, ...]:
    """Write the current result of ``job`` into ``folder``: each SR, SC, PNG, PDF and HTML.

    The DICOM files are those that are sent; where delivery has built no report yet, the one that
    it would build in the default class.

    Raises:
        NothingToShowError: nothing was found in this image yet, or its files are gone.
    """
    if job.result_folder is None or not (root / job.result_folder / CONTENT_FILE).exists():
        raise NothingToShowError(job_id=job.job_id)
    source = root / job.result_folder
    content = ResultContent.from_json((source / CONTENT_FILE).read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"job-{job.job_id}"
    capture = folder / f"{stem}-sc.dcm"
    shutil.copyfile(source / CAPTURE_FILE, capture)
    page = dcmread(capture).pixel_array
    return (
        *_reports(source, content, folder, stem=stem),
        capture,
        *write_readable(folder, stem=stem, content=content, page=page),
    )


def _reports(source: Path, content: ResultContent, folder: Path, *, stem: str) -> tuple[Path, ...]:
    built = sorted(source.glob("sr-*.dcm"))
    if built:
        names = ["", *(f"-{number}" for number in range(2, len(built) + 1))]
        paths = [folder / f"{stem}-sr{name}.dcm" for name in names]
        for one, path in zip(built, paths, strict=True):
            shutil.copyfile(one, path)
        return tuple(paths)
    sr_class = SrClass.ENHANCED if content.outcome is Outcome.REFUSED else SrClass.COMPREHENSIVE
    report = build_structured_report(content, dcmread(source / HEADER_FILE), sop_class=sr_class)
    path = folder / f"{stem}-sr.dcm"
    report.save_as(path, enforce_file_format=True)
    return (path,)
