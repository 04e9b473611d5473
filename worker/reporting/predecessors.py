"""Names the reports that a revision supersedes, as far as their class and series are known."""

from dataclasses import replace

from pydicom.dataset import Dataset

from schemas.results import ResultContent
from worker.reporting import document
from worker.reporting.identities import SR_CLASS_UIDS, report_series_uid, report_uid


def predecessors_of(content: ResultContent) -> Dataset | None:
    """Return the item of Predecessor Documents Sequence (PS3.3 C.17.2), or None.

    A predecessor is known by its UID alone; class and series follow from it, because both are
    reckoned from the same identity. One that was made with another site profile is not
    recognised: the content tree names its UID, this sequence does not.
    """
    series = [
        _series(former, uids)
        for revision in range(1, content.revision)
        if (uids := _known(former := replace(content, revision=revision), content))
    ]
    if not series:
        return None
    study = Dataset()
    study.StudyInstanceUID = content.source.study_instance_uid
    study.ReferencedSeriesSequence = series
    return study


def _known(former: ResultContent, content: ResultContent) -> list[tuple[str, str]]:
    candidates = ((uid, report_uid(former, uid)) for uid in SR_CLASS_UIDS.values())
    return [pair for pair in candidates if pair[1] in content.predecessor_uids]


def _series(former: ResultContent, known: list[tuple[str, str]]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = report_series_uid(former)
    series.ReferencedSOPSequence = [
        document.image_reference(sop_class_uid=class_uid, sop_instance_uid=instance_uid)
        for class_uid, instance_uid in known
    ]
    return series
