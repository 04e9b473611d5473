"""One result as a Structured Report in the SOP class that a destination takes."""

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from schemas.config import SrClass
from schemas.jobs import Outcome
from schemas.results import ResultContent
from worker.reporting import document
from worker.reporting.identities import (
    SR_CLASS_UIDS,
    capture_series_uid,
    capture_uid,
    heatmap_series_uid,
    heatmap_uid,
    report_series_uid,
    report_uid,
)
from worker.reporting.measurement_report import build_measurement_report
from worker.reporting.predecessors import predecessors_of
from worker.reporting.text_report import build_text_report

SERIES_NUMBER = 9901  # beyond what a modality counts to
SERIES_DESCRIPTION = "Bone age AI report - research use only"
REFUSED_DESCRIPTION = "Bone age AI - not estimated"

_PLAIN_CLASSES = (SrClass.ENHANCED, SrClass.BASIC_TEXT)


def classes_for(content: ResultContent, accepted: tuple[SrClass, ...]) -> tuple[SrClass, ...]:
    """Return ``accepted`` in the order to try: a refusal goes as Enhanced or Basic Text first."""
    if content.outcome is Outcome.ESTIMATED:
        return accepted
    plain = tuple(sr_class for sr_class in accepted if sr_class in _PLAIN_CLASSES)
    return plain + tuple(sr_class for sr_class in accepted if sr_class not in _PLAIN_CLASSES)


def build_structured_report(
    content: ResultContent, header: Dataset, *, sop_class: SrClass
) -> Dataset:
    """Return the report as a complete file, ready for ``save_as(enforce_file_format=True)``.

    Equal arguments give equal bytes.

    Args:
        content: what was found.
        header: the source image's data set; its patient and study are copied as they are.
        sop_class: what the destination takes. A refusal is a tree of texts in each of them.
    """
    sop_class_uid = SR_CLASS_UIDS[sop_class]
    dataset = document.new_object(
        content,
        header,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=report_uid(content, sop_class_uid),
    )
    is_refusal = content.outcome is Outcome.REFUSED
    dataset.Modality = "SR"
    dataset.SeriesInstanceUID = report_series_uid(content)
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = REFUSED_DESCRIPTION if is_refusal else SERIES_DESCRIPTION
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.PerformedProcedureCodeSequence = []
    dataset.CodingSchemeIdentificationSequence = [document.private_scheme()]
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(content)]
    predecessors = predecessors_of(content)
    if predecessors is not None:
        dataset.PredecessorDocumentsSequence = [predecessors]
    has_numbers = not is_refusal and sop_class is not SrClass.BASIC_TEXT
    root = build_measurement_report(content) if has_numbers else build_text_report(content)
    for element in root:
        dataset.add(element)
    return dataset


def _evidence(content: ResultContent) -> Dataset:
    """Return the images that the report refers to: the radiograph and what we made of it."""
    source = content.source
    study = Dataset()
    study.StudyInstanceUID = source.study_instance_uid
    study.ReferencedSeriesSequence = [
        _series(
            source.series_instance_uid,
            sop_class_uid=source.sop_class_uid,
            sop_instance_uid=source.sop_instance_uid,
        ),
        _series(
            capture_series_uid(content),
            sop_class_uid=SecondaryCaptureImageStorage,
            sop_instance_uid=capture_uid(content),
        ),
    ]
    if content.has_heatmap_object:
        study.ReferencedSeriesSequence.append(
            _series(
                heatmap_series_uid(content),
                sop_class_uid=SecondaryCaptureImageStorage,
                sop_instance_uid=heatmap_uid(content),
            )
        )
    return study


def _series(series_uid: str, *, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    series.ReferencedSOPSequence = [
        document.image_reference(sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)
    ]
    return series
