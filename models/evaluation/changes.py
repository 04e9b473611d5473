"""How far an estimate moves when the same hand is shown in another way."""

from collections.abc import Sequence

import numpy as np

from models.evaluation.answers import Answers, Interview
from models.evaluation.variants import VARIANTS
from models.training.annotations import Annotation
from schemas.releases import ChangeRow

#: the children of the table: a mean change is known to about a tenth of a month
CHANGE_CHILDREN = 40


def compare(change: str, before: Answers, after: Answers) -> ChangeRow:
    """Return one row of the table.

    The change is that of the estimates of images that the gate lets pass both ways; what it
    refuses gives no number that could be wrong, and is counted.
    """
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


def measure_changes(
    interview: Interview, annotations: Sequence[Annotation], *, count: int = CHANGE_CHILDREN
) -> list[ChangeRow]:
    """Return the table: every variant of the first ``count`` images, against the image itself."""
    some = annotations[:count]
    before = interview.ask(some)
    return [compare("as it is", before, before)] + [
        compare(name, before, interview.ask(some, change=name, variant=variant))
        for name, variant in VARIANTS.items()
    ]
