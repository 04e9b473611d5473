"""Every variant of a result, by name, and its reports in every class as files."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset

from schemas.config import SrClass
from schemas.refusals import RefusalReason
from schemas.results import ResultContent
from tests.builders import hand_radiograph
from tests.worker.reporting import contents
from worker.reporting.structured_report import build_structured_report

ESTIMATES: Mapping[str, Callable[[Dataset], ResultContent]] = {
    "estimate": contents.estimated,
    "both sexes": contents.of_unknown_sex,
    "no birth date": contents.of_unknown_age,
    "contradicting ages": contents.of_contradicting_ages,
    "calibrated by the site": contents.calibrated_girl,
    "heatmap alone": contents.with_heatmap_object,
    "supersedes another": contents.superseding,
}
REFUSALS: Mapping[str, Callable[[Dataset], ResultContent]] = {
    f"refusal {reason}": partial(contents.refused, reason=reason) for reason in RefusalReason
}
VARIANTS: Mapping[str, Callable[[Dataset], ResultContent]] = {**ESTIMATES, **REFUSALS}


def write_every_report(
    folder: Path, names: Iterable[str] = VARIANTS, classes: Iterable[SrClass] = SrClass
) -> list[Path]:
    """Write the named variants in the given classes; return the files."""
    header = hand_radiograph()
    return [
        write_report(folder, VARIANTS[name](header), header, sop_class=sop_class, name=name)
        for name in names
        for sop_class in classes
    ]


def write_report(
    folder: Path, content: ResultContent, header: Dataset, *, sop_class: SrClass, name: str = "sr"
) -> Path:
    """Write one report; return its file."""
    path = folder / f"{name.replace(' ', '-')}-{sop_class}.dcm"
    report = build_structured_report(content, header, sop_class=sop_class)
    report.save_as(path, enforce_file_format=True)
    return path
