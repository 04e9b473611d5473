"""Everything that `boneage evaluate` finds, asked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.answers import Answers, Interview, shared
from models.evaluation.changes import measure_changes
from models.evaluation.gate import measure_gate
from models.evaluation.grouping import (
    ChronologicalAges,
    Grouping,
    compare_with_calendar,
    group_by,
    read_groups,
    read_months,
)
from models.evaluation.heatmaps import measure_heatmaps
from models.evaluation.metrics import RESAMPLES, Outcomes, measure_bands, measure_groups
from models.evaluation.release import CLINICAL_PREFIX, clinical_images, member_rows
from models.evaluation.statistics import (
    BiasLine,
    SexScores,
    correct,
    fit_bias,
    pearson,
    require_fit,
    score_sex,
)
from models.evaluation.variants import Variant, turned_in_place
from models.evaluation.ways import Way, by_way, ways_of_robustness
from models.training.annotations import Annotation
from models.training.cohort import NATIVE
from models.training.split import Part
from schemas.errors import UsageError
from schemas.estimates import HandImage
from schemas.images import Sex
from schemas.releases import ChangeRow, GateRow, HeatmapMeasures, Manifest, MetricRow

#: that test-time augmentation turns an image by; each view is shown mirrored, too (Deeplasia's ten)
TURNS_DEGREES = (0.0, -10.0, -5.0, 5.0, 10.0)
BATCH = 16


class Images(StrEnum):
    """Which image of a child is read."""

    CLINIC = "clinic"  #: native aspect where there is one, else the squashed copy
    NATIVE = "native"  #: native aspect alone
    SQUASHED = "squashed"  #: the copies of 299 by 299 pixels


#: before the names of the bands of the estimate
_PREFIXES = {Images.CLINIC: CLINICAL_PREFIX, Images.NATIVE: "", Images.SQUASHED: ""}


class Correction(StrEnum):
    """Whose expected error is taken from the estimates."""

    NONE = "none"
    OVERALL = "overall"
    SEX = "sex"  #: that of each sex apart


class NoImagesError(UsageError):
    """There is nothing to evaluate on."""

    code = "evaluate.no_images"

    def __init__(self, *, part: Part, images: Images) -> None:
        super().__init__(
            f"The part {part.value!r} of the split holds no images of the kind {images.value!r}. "
            "Nothing was evaluated. Choose another --split or --images, or another --data."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked."""

    part: Part = Part.TEST
    images: Images = Images.CLINIC
    limit: int = 0  #: at most so many children; 0: all
    resamples: int = RESAMPLES
    correction: Correction = Correction.NONE
    rotations_and_flip: bool = False  #: months are averaged over five turns and their mirror images
    robustness: bool = False  #: changes, gate and heatmaps are measured, too
    by: str = ""  #: column of the table whose values are groups
    chronological: str = ""  #: column of the table with ages by the calendar, months

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that it is about, beside those of every table."""
        return tuple(name for name in (self.by, self.chronological) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found."""

    target: str
    manifest: Manifest
    question: Question
    answers: Answers
    are_files: bool  #: images of native aspect were read from DICOM files
    outcomes: Outcomes  #: corrected, where a correction was asked for
    rows: tuple[MetricRow, ...]
    members: tuple[MetricRow, ...]
    bands: tuple[MetricRow, ...]
    pearson: float
    bias: tuple[BiasLine, ...]  #: taken off, or what the test part itself shows (n = test children)
    is_corrected: bool
    sex: tuple[SexScores, ...]
    ways: tuple[Way, ...]  #: what was read which way
    by: Grouping | None = None
    chronological: ChronologicalAges | None = None
    gate: tuple[GateRow, ...] = ()
    changes: tuple[ChangeRow, ...] = ()
    heatmaps: HeatmapMeasures | None = None

    @property
    def guess_mae_months(self) -> float:
        """The error of whoever always says the mean age of these children."""
        labels = self.outcomes.labels
        return float(np.abs(labels - labels.mean()).mean())


def select_images(interview: Interview, question: Question, part: Part) -> list[Annotation]:
    """Return the images that a question is about."""
    cohort = interview.cohort
    if question.images is Images.CLINIC:
        chosen = clinical_images(cohort, part)
    elif question.images is Images.NATIVE:
        chosen = cohort.select(part, folders=NATIVE)
    else:
        chosen = cohort.select(part)
    return chosen[: question.limit or None]


def _mirrored(pixels: NDArray[np.float32], *, first: Variant) -> NDArray[np.float32]:
    return np.ascontiguousarray(first(pixels)[:, ::-1])


def _ask(interview: Interview, images: Sequence[Annotation], question: Question) -> Answers:
    if not question.rotations_and_flip:
        return interview.ask(images)
    views: dict[str, Variant] = {
        f"turned in place by {degrees:+g}°" if degrees else "as it is": (
            partial(turned_in_place, degrees=degrees)
        )
        for degrees in TURNS_DEGREES
    }
    views |= {f"{name}, mirrored": partial(_mirrored, first=one) for name, one in views.items()}
    return averaged(
        interview,
        {
            name: interview.ask(images, change=name, variant=variant)
            for name, variant in views.items()
        },
    )


def averaged(interview: Interview, asked: Mapping[str, Answers]) -> Answers:
    """Return each member's mean over several ways of showing the same images, by their names."""
    views = dict(zip(asked, shared(list(asked.values())), strict=True))
    first = next(iter(views.values()))
    ages = [list(one.member_ages().values()) for one in views.values()]
    months = np.mean(ages, axis=0)
    return replace(
        first,
        estimates=tuple(
            interview.ensemble.combine(one.sex, [float(member[child]) for member in months])
            for child, one in enumerate(first.annotations)
        ),
        views={name: one.outcomes.ages for name, one in views.items()},
    )


def _bias_lines(outcomes: Outcomes, correction: Correction) -> tuple[BiasLine, ...]:
    if correction is not Correction.SEX:
        return (fit_bias(outcomes.labels, outcomes.ages, sex="*"),)
    lines = []
    for sex in Sex:
        ours = outcomes.where(outcomes.sexes == sex.value)
        if ours.labels.size > 1:
            lines.append(fit_bias(ours.labels, ours.ages, sex=sex.value))
    return tuple(lines)


def _shifted(outcomes: Outcomes, ages: NDArray[np.float64]) -> Outcomes:
    """Return the outcomes with other estimates; the intervals move with them."""
    moved = ages - outcomes.ages
    return Outcomes(
        sexes=outcomes.sexes,
        labels=outcomes.labels,
        ages=ages,
        lows=np.maximum(outcomes.lows + moved, 0.0),
        highs=outcomes.highs + moved,
    )


def _sex_scores(interview: Interview, images: Sequence[Annotation]) -> tuple[SexScores, ...]:
    """Return how well members tell the sex, of those that predict it."""
    archive = interview.cohort.open_archive()
    is_boy = np.array([one.sex is Sex.MALE for one in images])
    scores = []
    for index, member in enumerate(interview.ensemble.members):
        if member.entry.head is None or member.entry.head.sex in ("input", "none"):
            continue
        logits: list[float] = []
        for first in range(0, len(images), BATCH):
            batch = [
                HandImage(
                    pixels=archive.read(folder=one.folder, image_id=one.image_id).astype(
                        np.float32
                    ),
                    sexes=(one.sex,),
                )
                for one in images[first : first + BATCH]
            ]
            logits += interview.ensemble.member_sex(index, batch) or ()
            interview.progress(f"sex by {member.entry.name}", len(logits), len(images))
        scores.append(score_sex(member.entry.name, np.array(logits), is_boy))
    return tuple(scores)


def make_report(target: str, interview: Interview, question: Question) -> Report:
    """Ask everything that a question is about.

    A correction of bias is fitted on the calibrate and validate parts alone, never on what it is
    judged on.

    Raises:
        NoImagesError: the part holds no such image.
        UnfitBiasError: the network hardly follows the age, so that no line may be taken off.
        GroupingError: a column that was asked for cannot be used.
        NoTrainingDataError: the data are not there.
    """
    images = select_images(interview, question, question.part)
    if not images:
        raise NoImagesError(part=question.part, images=question.images)
    if question.by:  # what is wrong in the table is said before the networks are asked
        read_groups(question.by, images)
    if question.chronological:
        read_months(question.chronological, images)
    answers = _ask(interview, images, question)
    outcomes = answers.outcomes
    is_corrected = question.correction is not Correction.NONE
    if is_corrected:
        fitted_on = [
            one
            for part in (Part.CALIBRATE, Part.VALIDATE)
            if part is not question.part
            for one in select_images(interview, question, part)
        ]
        fitted = _bias_lines(_ask(interview, fitted_on, question).outcomes, question.correction)
        bias = tuple(map(require_fit, fitted))
        outcomes = _shifted(outcomes, correct(outcomes.ages, outcomes.sexes, bias))
    else:
        bias = _bias_lines(outcomes, question.correction)
    by = chronological = None
    if question.by:
        resamples = question.resamples
        by = group_by(question.by, answers.annotations, outcomes, resamples=resamples)
    if question.chronological:
        children = answers.annotations
        chronological = compare_with_calendar(question.chronological, children, outcomes, by)
    robustness = _measure_more(interview, answers, question) if question.robustness else {}
    return Report(
        target=target,
        manifest=interview.ensemble.manifest,
        question=question,
        answers=answers,
        are_files=_are_files(interview, question),
        outcomes=outcomes,
        rows=tuple(measure_groups(outcomes, resamples=question.resamples)),
        members=tuple(member_rows(answers)),
        bands=tuple(measure_bands(outcomes, prefix=_PREFIXES[question.images])),
        pearson=pearson(outcomes.labels, outcomes.ages),
        bias=bias,
        is_corrected=is_corrected,
        sex=_sex_scores(interview, answers.annotations),
        ways=_say_ways(interview, answers, question),
        by=by,
        chronological=chronological,
        **robustness,
    )


def _are_files(interview: Interview, question: Question) -> bool:
    """Say whether images of native aspect come as files; those turned for an average do not."""
    return interview.dicom is not None and not question.rotations_and_flip


def _examples(interview: Interview, answers: Answers, question: Question) -> list[Annotation]:
    """Return the hands of native aspect, or all: in the order in which `release build` asks."""
    asked = {(one.folder, one.image_id) for one in answers.annotations}
    native = interview.cohort.select(question.part, folders=NATIVE)
    return [one for one in native if (one.folder, one.image_id) in asked] or list(
        answers.annotations
    )


def _measure_more(interview: Interview, answers: Answers, question: Question) -> dict[str, Any]:
    """Return what gate, changes and heatmaps were found to do, as `release build` finds it."""
    asked = {
        f"hands of the {question.part} part, {way}": said
        for way, said in by_way(answers, are_files=_are_files(interview, question)).items()
    }
    examples = _examples(interview, answers, question)
    return {
        "gate": tuple(measure_gate(interview, asked, hands=examples)),
        "changes": tuple(measure_changes(interview, examples)),
        "heatmaps": measure_heatmaps(interview, examples),
    }


def _say_ways(interview: Interview, answers: Answers, question: Question) -> tuple[Way, ...]:
    ways = [
        Way(what="error, interval, bias", n=len(said.annotations), how=way)
        for way, said in by_way(answers, are_files=_are_files(interview, question)).items()
    ]
    if question.robustness:
        examples = _examples(interview, answers, question)
        ways += ways_of_robustness(examples, are_files=interview.dicom is not None)
    return tuple(ways)
