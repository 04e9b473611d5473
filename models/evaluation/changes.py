"""How far an estimate moves when the same hand is shown in another way."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.evaluation.answers import Answers, Interview, shared
from models.evaluation.variants import VARIANTS
from models.training.annotations import Annotation
from schemas.releases import ChangeRow

#: the children of the table: a mean change is known to about a tenth of a month
CHANGE_CHILDREN = 40
AS_FILE = "as a DICOM file"


def compare(change: str, before: Answers, after: Answers) -> ChangeRow:
    """Return one row of the table.

    The change is that of the estimates of images that the gate lets pass both ways; what it
    refuses gives no number that could be wrong, and is counted.
    """
    before, after = shared([before, after])
    passed = np.array(
        [
            one.refusal is None and other.refusal is None
            for one, other in zip(before.verdicts, after.verdicts, strict=True)
        ]
    )
    chosen = passed if passed.any() else np.ones(passed.size, dtype=np.bool_)
    moved = (after.outcomes.ages - before.outcomes.ages)[chosen]
    errors = np.abs(after.outcomes.ages - after.outcomes.labels)[chosen]
    return ChangeRow(
        change=change,
        n=int(passed.sum()),
        mean_change_months=round(float(np.abs(moved).mean()), 2),
        mean_shift_months=round(float(moved.mean()), 2),
        mae_months=round(float(errors.mean()), 2),
        refused=after.refused - sum(one.refusal is not None for one in before.verdicts),
    )


def compare_files(interview: Interview, annotations: Sequence[Annotation]) -> ChangeRow:
    """Return the row of images as DICOM files, against the pictures that they were made of."""
    pictures = replace(interview, dicom=None)
    return compare(AS_FILE, pictures.ask(annotations), interview.ask(annotations))


def measure_changes(
    interview: Interview, annotations: Sequence[Annotation], *, count: int = CHANGE_CHILDREN
) -> list[ChangeRow]:
    """Return the table: every variant of the first ``count`` images, against the image itself.

    Where files can be read, all images as DICOM files against the pictures that they are made of.
    """
    some = annotations[:count]
    before = interview.ask(some)
    rows = [compare("as it is", before, before)]
    if interview.dicom is not None:
        rows.append(compare_files(interview, annotations))
    return rows + [
        compare(name, before, interview.ask(some, change=name, variant=variant))
        for name, variant in VARIANTS.items()
    ]
