"""Files of one revision of one result, durable before the queue hears of it."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset

from schemas.errors import TransientError
from schemas.jobs import Claim, NewOutput, NewResult, ObjectKind, OutboxOrder
from schemas.results import CAPTURE_FILE, CONTENT_FILE, HEADER_FILE, HEATMAP_FILE
from worker.files import write_all_durably
from worker.inference.attributes import lenient_values
from worker.inference.estimate import Finding


class ResultNotWrittenError(TransientError):
    """The disk did not take the result."""

    code = "results.disk"

    def __init__(self, *, errno: int | None) -> None:
        super().__init__(
            f"The result could not be written (errno {errno}); the image is kept and is read "
            "again. Free space in the storage folder, or see who may write there."
        )


def result_folder(claim: Claim) -> str:
    """Return where this attempt writes, relative to the storage root.

    The claim's token is in the name: an attempt that lost its lease can never write into the
    folder of the one that settled, whose bytes stand for ever.
    """
    return f"results/{claim.job_id}/{claim.revision}-{claim.token[:8]}"


def write_result(finding: Finding, *, root: Path, folder: str) -> dict[str, str]:
    """Write header, content and Secondary Captures durably; return the sha256 of each, by name.

    While the disk takes them, another thread takes their digests: neither needs the interpreter.

    Raises:
        ResultNotWrittenError: the disk refused.
    """
    files = {
        HEADER_FILE: finding.header,
        CONTENT_FILE: finding.content.to_json(),
        CAPTURE_FILE: _file_bytes(finding.capture),
    }
    if finding.heatmap_capture is not None:
        files[HEATMAP_FILE] = _file_bytes(finding.heatmap_capture)
    with ThreadPoolExecutor(1, thread_name_prefix="digests") as beside:
        digests = beside.submit(_digests, files)
        try:
            write_all_durably(root / folder, files)
        except OSError as error:
            raise ResultNotWrittenError(errno=error.errno) from error
        return digests.result()


def new_result(
    finding: Finding,
    *,
    folder: str,
    digests: Mapping[str, str],
    orders: tuple[OutboxOrder, ...],
    error: str = "",
) -> NewResult:
    """Return what the queue is told of a finding whose files lie in ``folder``.

    A refusal has no heatmap: nobody is owed one.
    """
    captures = {ObjectKind.SC: finding.capture, ObjectKind.HEATMAP: finding.heatmap_capture}
    made = {kind: capture for kind, capture in captures.items() if capture is not None}
    content = finding.content
    headline = content.estimates[0] if len(content.estimates) == 1 else None
    interval = headline.interval if headline else None
    sex = content.source.sex
    age = content.source.chronological_age
    return NewResult(
        outcome=content.outcome,
        reason=content.reason.value if content.reason else "",
        result_folder=folder,
        release_digest=content.release.digest,
        profile_digest=content.profile.digest,
        outputs=tuple(
            NewOutput(
                kind=kind,
                sop_class_uid=capture.SOPClassUID,
                sop_instance_uid=capture.SOPInstanceUID,
            )
            for kind, capture in made.items()
        ),
        orders=tuple(one for one in orders if one.kind in {ObjectKind.SR, *made}),
        bone_age_months=headline.age_months if headline else None,
        interval_months=(interval.low_months, interval.high_months) if interval else None,
        sex=sex.sex.value if sex.sex else None,
        sex_source=sex.source.value,
        timings_ms=finding.timings_ms,
        is_phantom=content.source.is_phantom,
        error=error,
        chronological_age_months=age.months if age else None,
        digests=digests,
    )


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _file_bytes(dataset: Dataset) -> bytes:
    target = BytesIO()
    with lenient_values():
        dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()
