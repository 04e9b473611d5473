"""Names the reports that a revision supersedes: class, instance and series of each."""

from itertools import groupby

from pydicom.dataset import Dataset

from schemas.results import ResultContent
from worker.reporting import document
from worker.reporting.identities import former_series_uid


def predecessors_of(content: ResultContent) -> Dataset | None:
    """Return the item of Predecessor Documents Sequence (PS3.3 C.17.2), or None.

    The former report may have been made with another release or site profile: its series follows
    from those, not from today's.
    """
    if not content.predecessors:
        return None
    study = Dataset()
    study.StudyInstanceUID = content.source.study_instance_uid
    study.ReferencedSeriesSequence = []
    in_series = groupby(content.predecessors, lambda former: former_series_uid(content, former))
    for series_uid, formers in in_series:
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = [
            document.image_reference(
                sop_class_uid=former.sop_class_uid, sop_instance_uid=former.sop_instance_uid
            )
            for former in formers
        ]
        study.ReferencedSeriesSequence.append(series)
    return study
