"""Measure a release on the children of the test part and write what was found into it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.calibration import Scored
from models.ensemble import Ensemble, load_estimator
from models.evaluation.answers import Answers, Interview, Progress, ignore_progress
from models.evaluation.changes import measure_changes
from models.evaluation.dicom_path import DicomPath
from models.evaluation.gate import measure_gate
from models.evaluation.heatmaps import measure_heatmaps
from models.evaluation.metrics import Outcomes, measure, measure_bands, measure_groups
from models.release.write import Measured, rewrite_metrics
from models.training.annotations import Annotation
from models.training.cohort import NATIVE, Cohort
from models.training.split import Part
from schemas.releases import ChangeRow, GateRow, HeatmapMeasures, Manifest, MetricRow

NATIVE_PREFIX = "native aspect, "
FILES_PREFIX = "as DICOM files, "
CLINICAL_PREFIX = "as in the clinic, "


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All that was found, with the answers that it was found from."""

    metrics: tuple[MetricRow, ...]
    gate: tuple[GateRow, ...]
    changes: tuple[ChangeRow, ...]
    heatmaps: HeatmapMeasures | None
    clinical: Answers  #: the answers that the pictures are drawn from


def clinical_images(cohort: Cohort, part: Part) -> list[Annotation]:
    """Return one image of every child of a part: at native aspect where there is one.

    So each child is read as a DICOM image would be, as far as the data reach.
    """
    native = {one.patient_id: one for one in cohort.select(part, folders=NATIVE)}
    return [native.get(one.patient_id, one) for one in cohort.select(part)]


def member_rows(answers: Answers) -> list[MetricRow]:
    """Return a row for each member alone (the interval is that of the ensemble)."""
    whole = answers.outcomes
    return [
        measure(
            f"member {name} alone",
            Outcomes(
                sexes=whole.sexes,
                labels=whole.labels,
                ages=ages,
                lows=whole.lows,
                highs=whole.highs,
            ),
        )
        for name, ages in answers.member_ages().items()
    ]


def _native_rows(outcomes: Outcomes, *, are_files: bool) -> list[MetricRow]:
    """Return rows for the images of native aspect: all, girls, boys."""
    rows = measure_groups(outcomes, prefix=FILES_PREFIX if are_files else NATIVE_PREFIX)
    return [row for row in rows if not row.group.endswith("months")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How far estimates lie from labels."""

    rows: tuple[MetricRow, ...]
    asked: Mapping[str, Answers]  #: what kind of hands → what was said about them
    clinical: Answers  #: each child once, at native aspect where there is such an image


def measure_errors(interview: Interview) -> Errors:
    """Ask about every child of the test part.

    Rows without prefix: the 299 by 299 files of all test children. Rows "as DICOM files": the same
    children where a half- or full-resolution image exists, each read from a DICOM file; "native
    aspect", where nobody said how such files are read.
    Rows "as in the clinic": each child once, at native aspect where it can be had.

    Raises:
        NoTrainingDataError: the data are not there.
    """
    cohort = interview.cohort
    small = interview.ask(cohort.select(Part.TEST))
    shown = cohort.select(Part.TEST, folders=NATIVE)
    asked = {"hands, held out, 299 by 299": small}
    rows = measure_groups(small.outcomes) + member_rows(small)
    clinical = small
    if shown:
        native = interview.ask(shown)
        are_files = interview.dicom is not None
        kind = "DICOM files" if are_files else "native aspect"
        asked = {f"hands, held out, {kind}": native, **asked}
        rows += _native_rows(native.outcomes, are_files=are_files)
        clinical = joined(native, small)
    rows += measure_bands(clinical.outcomes, prefix=CLINICAL_PREFIX)
    return Errors(rows=tuple(rows), asked=asked, clinical=clinical)


def measure_release(interview: Interview) -> Measurement:
    """Measure everything that a card and an evaluation page show.

    Raises:
        NoTrainingDataError: the data are not there.
    """
    errors = measure_errors(interview)
    examples = next(iter(errors.asked.values())).annotations  # of native aspect, if there are any
    return Measurement(
        metrics=errors.rows,
        gate=tuple(measure_gate(interview, errors.asked, hands=examples)),
        changes=tuple(measure_changes(interview, examples)),
        heatmaps=measure_heatmaps(interview, examples),
        clinical=errors.clinical,
    )


def scored(answers: Answers) -> list[Scored]:
    """Return what intervals and bias are fitted on."""
    return [
        Scored(sex=told.sex, label_months=told.age_months, age_months=said.age_months)
        for told, said in zip(answers.annotations, answers.estimates, strict=True)
    ]


def joined(native: Answers, small: Answers) -> Answers:
    """Return each child's answer once: at native aspect where there is one."""
    seen = {one.patient_id for one in native.annotations}
    rest = small.about(
        [place for place, one in enumerate(small.annotations) if one.patient_id not in seen]
    )
    return Answers(
        annotations=native.annotations + rest.annotations,
        verdicts=native.verdicts + rest.verdicts,
        estimates=native.estimates + rest.estimates,
        without_hand=tuple(dict.fromkeys(native.without_hand + small.without_hand)),
    )


def evaluate(
    release: str | Path,
    *,
    cohort: Cohort,
    device: str = "cpu",
    cache: Path | None = None,
    progress: Progress = ignore_progress,
    dicom: DicomPath | None = None,
) -> Manifest:
    """Measure a release on the test part and write tables and card into its folder.

    Args:
        release: name or folder.
        cohort: whose test part is read.
        device: torch device.
        cache: folder that keeps what the members said.
        progress: told how far it is.
        dicom: how DICOM files are read; None: pictures of native aspect are read as decoded.

    Raises:
        NoTrainingDataError: the data are not there.
        PermanentError: the release cannot be loaded.
    """
    ensemble = load_estimator(release, device=device)
    found = measure_release(
        Interview(ensemble=ensemble, cohort=cohort, cache=cache, progress=progress, dicom=dicom)
    )
    return write_measurement(ensemble, found)


def write_measurement(ensemble: Ensemble, found: Measurement) -> Manifest:
    """Write tables and card into the folder of the release that was asked."""
    return rewrite_metrics(
        ensemble.folder,
        Measured(
            metrics=found.metrics, gate=found.gate, changes=found.changes, heatmaps=found.heatmaps
        ),
    )
