"""Measure a release on the children of the test part and write what was found into it.

``python -m models.training.evaluate RELEASE`` reads every image exactly as serving does.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.ensemble import Ensemble, load_estimator
from models.release.card import format_table
from models.release.write import rewrite_metrics
from models.training.annotations import Annotation
from models.training.cohort import NATIVE, Cohort
from models.training.metrics import Outcomes, measure, measure_groups
from models.training.places import default_data
from models.training.split import Part
from models.training.variants import VARIANTS, Variant, as_it_is
from schemas.estimates import BoneAgeEstimate, HandImage
from schemas.releases import Manifest, MetricRow

BATCH = 32
#: the changed images of the table: enough children to see a shift of half a month
VARIANT_CHILDREN = 150

#: told after each batch: children done, children in all
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Estimates in the order of the annotations, and how many images the gate would refuse."""

    annotations: tuple[Annotation, ...]
    estimates: tuple[BoneAgeEstimate, ...]
    refused: int


def ignore_progress(_done: int, _total: int) -> None:
    """Tell nobody."""


def ask(
    ensemble: Ensemble,
    annotations: Sequence[Annotation],
    *,
    cohort: Cohort,
    variant: Variant = as_it_is,
    progress: Progress = ignore_progress,
) -> Answers:
    """Return what the release says about labelled radiographs, read as serving reads them.

    Images that the gate would refuse are estimated all the same, so that the error is that of
    the networks; they are counted.

    Raises:
        NoTrainingDataError: a zip is not there.
    """
    archive = cohort.open_archive()
    estimates: list[BoneAgeEstimate] = []
    refused = 0
    for first in range(0, len(annotations), BATCH):
        batch = annotations[first : first + BATCH]
        pixels = [
            variant(archive.read(folder=one.folder, image_id=one.image_id).astype(np.float32))
            for one in batch
        ]
        refused += sum(ensemble.check(one).refusal is not None for one in pixels)
        images = [
            HandImage(pixels=image, sexes=(one.sex,))
            for image, one in zip(pixels, batch, strict=True)
        ]
        estimates += ensemble.estimate(images)
        progress(len(estimates), len(annotations))
    return Answers(annotations=tuple(annotations), estimates=tuple(estimates), refused=refused)


def outcomes_of(answers: Answers) -> Outcomes:
    """Return labels, estimates and intervals as arrays."""
    told, said = answers.annotations, answers.estimates
    return Outcomes(
        sexes=np.array([one.sex.value for one in told]),
        labels=np.array([one.age_months for one in told]),
        ages=np.array([one.age_months for one in said]),
        lows=np.array([one.interval.low_months for one in said]),
        highs=np.array([one.interval.high_months for one in said]),
    )


def member_rows(answers: Answers) -> list[MetricRow]:
    """Return a row for each member alone (the interval is that of the ensemble)."""
    whole = outcomes_of(answers)
    names = [member.member for member in answers.estimates[0].members]
    rows = []
    for index, name in enumerate(names):
        ages = np.array([one.members[index].age_months for one in answers.estimates])
        alone = Outcomes(
            sexes=whole.sexes, labels=whole.labels, ages=ages, lows=whole.lows, highs=whole.highs
        )
        rows.append(measure(f"member {name} alone", alone))
    return rows


def measure_release(
    ensemble: Ensemble, *, cohort: Cohort, progress: Progress = ignore_progress
) -> tuple[list[MetricRow], int]:
    """Return the whole table, and how many of the test images the gate refuses.

    Rows without prefix: the 299 by 299 files of all test children. Rows "native aspect": the same
    children where a half- or full-resolution image exists, through the path of a clinical image;
    "some native": the first of them, as ``models.training.variants`` changes them.
    """
    small = ask(ensemble, cohort.select(Part.TEST), cohort=cohort, progress=progress)
    rows = measure_groups(outcomes_of(small)) + member_rows(small)
    shown = cohort.select(Part.TEST, folders=NATIVE)
    if not shown:
        return rows, small.refused
    native = ask(ensemble, shown, cohort=cohort, progress=progress)
    rows += native_rows(outcomes_of(native))
    some = shown[:VARIANT_CHILDREN]
    for name, variant in {"as it is": as_it_is, **VARIANTS}.items():
        changed = ask(ensemble, some, cohort=cohort, variant=variant, progress=progress)
        rows.append(measure(f"some native, {name}", outcomes_of(changed)))
    return rows, small.refused + native.refused


def native_rows(outcomes: Outcomes) -> list[MetricRow]:
    """Return rows for the images of native aspect: all, girls, boys."""
    rows = measure_groups(outcomes, prefix="native aspect, ")
    return [row for row in rows if not row.group.endswith("months")]


def evaluate(
    release: str | Path,
    *,
    cohort: Cohort,
    device: str = "cpu",
    progress: Progress = ignore_progress,
) -> Manifest:
    """Measure a release on the test part and write table and card into its folder.

    Raises:
        NoTrainingDataError: the data are not there.
        PermanentError: the release cannot be loaded.
    """
    ensemble = load_estimator(release, device=device)
    rows, refused = measure_release(ensemble, cohort=cohort, progress=progress)
    return rewrite_metrics(ensemble.folder, metrics=rows, refused=refused)


def main() -> None:
    """Measure a release and write the table into its manifest and card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("release")
    parser.add_argument("--data", type=Path, default=default_data())
    given = parser.parse_args()
    manifest = evaluate(given.release, cohort=Cohort(data=given.data))
    print(format_table(manifest.metrics))  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
