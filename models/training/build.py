"""Build a release from finished runs: weights, gate, calibration, phantom's value, tables, card."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.calibration import fit_calibration
from models.ensemble import Ensemble
from models.evaluation.answers import Interview, Progress, ignore_progress
from models.evaluation.dicom_path import DicomPath
from models.evaluation.release import clinical_images, evaluate, scored
from models.phantom import digest_of_pixels, draw_phantom
from models.release.load import load_release
from models.release.manifest import MANIFEST_FILE, RELEASES, digest_of_file
from models.release.write import write_manifest
from models.training.annotations import Annotation, digest_of_annotations
from models.training.cohort import Cohort
from models.training.data import select_children
from models.training.gate.train import RECORD_FILE as GATE_RECORD
from models.training.gate.train import WEIGHTS_FILE as GATE_WEIGHTS
from models.training.mask_file import write_mask
from models.training.prepared import preprocessing_of
from models.training.recipe import Recipe
from models.training.run_folder import DamagedRunError, RunFolder
from models.training.split import Part
from schemas.errors import PermanentError
from schemas.estimates import HandImage
from schemas.images import Sex
from schemas.releases import (
    FORMAT_VERSION,
    LEAST_INPUT,
    Averaging,
    Calibration,
    Gate,
    IntervalGroup,
    Manifest,
    Member,
    NetworkHead,
    Phantom,
    PreprocessingRule,
    SexMode,
)

#: the stated age and sex of the phantom that releases are pinned to
PHANTOM_AGE_MONTHS = 120.0
PHANTOM_SEX = Sex.FEMALE
#: other CPUs and libraries sum in another order; 0.1 month is 50 times what two of them differed by
PHANTOM_TOLERANCE_MONTHS = 0.1

LICENCE = (
    "Non-commercial: academic research, education and other non-commercial use only, as the terms "
    "of the RSNA Pediatric Bone Age images ask (see models/releases/LICENSE)."
)
INTENDED_USE = (
    "Bone age of one hand of a child from a posterior-anterior radiograph, as a reading beside "
    "that of a radiologist. Research use only, not for diagnosis."
)
TRAINING_DATA = (
    "{children} children of the RSNA Pediatric Bone Age Machine Learning Challenge 2017 (Halabi "
    "et al., Radiology 2018;290:498-503), 299 by 299 pixels, one clinical report each; "
    "{girls} girls and {boys} boys, {youngest:.0f} to {oldest:.0f} months."
)
GATE_DATA = (
    "{examples} pictures made from the training children (turned, inverted, cut off, covered, two "
    "in one) and from chests and spines of public collections under MIT, Apache-2.0 and CC BY 4.0."
)


class RunMismatchError(PermanentError):
    """Runs cannot be put into one release."""

    code = "release.runs"

    def __init__(
        self,
        *,
        problem: str,
        mend: str = "Train them with one data folder, split and preprocessing rule.",
    ) -> None:
        super().__init__(
            f"These runs cannot make a release: {problem}. Nothing was written. {mend}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    folder: RunFolder
    record: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelease:
    """What is asked for beside the runs."""

    name: str  #: folder name
    version: str = "1"
    gate: Path | None = None  #: folder of a trained gate; None: the simple bounds alone
    mask_network: Path | None = None  #: checkpoint; finds the hand for runs trained with masks
    averaging: Averaging = Averaging.MIRROR
    upright: bool = False  #: as in ``PreprocessingRule``; members need not be trained with it
    releases: Path = RELEASES  #: where the folder is put


def _read_runs(new: NewRelease, paths: Sequence[Path], cohort: Cohort) -> list[_Run]:
    runs = []
    for path in paths:
        folder = RunFolder(path=path)
        if not (folder.weights.is_file() and folder.record.is_file()):
            raise RunMismatchError(problem=f"{path} has no weights or no record")
        runs.append(_Run(folder=folder, record=folder.read_record()))
    for run in runs:
        _require_servable(run, has_mask=new.mask_network is not None)
    if len({_rule(new, run).model_dump_json() for run in runs}) != 1:
        raise RunMismatchError(problem="they differ in preprocessing")
    for key in ("split_sha256", "training_data_sha256"):
        if len({run.record[key] for run in runs}) != 1:
            raise RunMismatchError(problem=f"they differ in {key}")
    if runs[0].record["split_sha256"] != cohort.split_sha256:
        raise RunMismatchError(problem="they were trained with another split")
    return runs


def _rule(new: NewRelease, run: _Run) -> PreprocessingRule:
    """Return how the release prepares an image, by one of its runs and what was asked for."""
    rule = PreprocessingRule.model_validate(run.record["preprocessing"])
    return rule.model_copy(update={"upright": rule.upright or new.upright})


def _require_servable(run: _Run, *, has_mask: bool) -> None:
    if unfit := _unfit(run):
        raise RunMismatchError(
            problem=f"{run.folder.path} {unfit}",
            mend="What it reached stands in its run.json, and `boneage plot` draws its curves.",
        )
    if _wants_mask(run) and not has_mask:
        raise RunMismatchError(
            problem=f"{run.folder.path} reads the hand alone, and nothing here finds it",
            mend="Give a mask network, such as Deeplasia's: --mask-network fscnn_cos.ckpt.",
        )


def _unfit(run: _Run) -> str:
    """Return why a run cannot be served; nothing if it can."""
    recipe = _recipe_of(run.record)
    reasons = (
        (recipe.task != "age", "predicts classes, and no age"),
        (recipe.head.sex is SexMode.ONLY, "predicts the sex, and no age"),
        (recipe.images.fourier != "none", "reads spectra, whose heatmap would show no places"),
        (recipe.images.range == "header", "wants the bits stored, which serving does not look at"),
        (
            run.record["input_size"] < LEAST_INPUT,
            f"was trained at less than {LEAST_INPUT} pixels, at which no hand can be read",
        ),
    )
    return next((words for is_so, words in reasons if is_so), "")


def _wants_mask(run: _Run) -> bool:
    rule = _recipe_of(run.record).preprocessing
    return rule is not None and rule.use_mask


def _recipe_of(record: dict[str, Any]) -> Recipe:
    """Return the recipe of a run; the first ones named two widths where now there is a head."""
    values = dict(record["recipe"])
    hidden, sex = values.pop("hidden_features", None), values.pop("sex_features", None)
    if hidden is not None:
        values["head"] = NetworkHead(dense_features=(hidden,), sex_features=sex)
        values["augmentation"] = {}  # its keys have changed since; nothing here reads them
    return Recipe.model_validate(values)


def _halve(weights: Path, file: Path) -> None:
    """Write weights in half precision: months move by 0.03, 0.1 at most (48 children).

    Raises:
        DamagedRunError: the weights cannot be read.
    """
    try:
        whole = load_file(weights)
    except SafetensorError as error:
        raise DamagedRunError(path=weights) from error
    halved = {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in whole.items()
    }
    save_file(halved, file)
    file.chmod(0o644)


def _write_member(folder: Path, run: _Run, averaging: Averaging) -> Member:
    """Write one network in half precision and return its entry."""
    record, recipe = run.record, _recipe_of(run.record)
    file = f"{recipe.name}.safetensors"
    _halve(run.folder.weights, folder / file)
    member = Member(
        name=recipe.name,
        file=file,
        sha256=digest_of_file(folder / file),
        architecture=recipe.architecture,
        input_size=record["input_size"],
        head=recipe.head,
        preprocessing=preprocessing_of(recipe),
        age_mean_months=record["age_mean_months"],
        age_sd_months=record["age_sd_months"],
        recipe=recipe.name,
        validation_mae_months=round(record["validation_mae_months"], 3),
        crop_share=recipe.crop_share,
        training=run.folder.read_training(),
    )
    return member.seen_in(averaging)


def _write_gate(folder: Path, run: Path) -> Gate:
    """Write the gate's network in half precision and return its entry.

    Raises:
        RunMismatchError: there is no finished gate in the folder.
    """
    if not ((run / GATE_WEIGHTS).is_file() and (run / GATE_RECORD).is_file()):
        raise RunMismatchError(problem=f"{run} holds no gate ({GATE_WEIGHTS}, {GATE_RECORD})")
    record = json.loads((run / GATE_RECORD).read_text(encoding="utf-8"))
    _halve(run / GATE_WEIGHTS, folder / GATE_WEIGHTS)
    return Gate(
        file=GATE_WEIGHTS,
        width=record["width"],
        input_size=record["input_size"],
        least_hand=record["least_hand"],
        training_data=GATE_DATA.format(examples=record["examples"]),
    )


def _draft(
    name: str,
    version: str,
    members: Sequence[Member],
    *,
    training: Sequence[Annotation],
    cohort: Cohort,
    rule: PreprocessingRule,
) -> Manifest:
    """Return the manifest before anything was measured with it."""
    ages = [one.age_months for one in training]
    girls = sum(one.sex is Sex.FEMALE for one in training)
    unknown = IntervalGroup(sex="*", half_width_months=0.0, n=0)
    pixels = draw_phantom(age_months=PHANTOM_AGE_MONTHS, sex=PHANTOM_SEX)
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        version=version,
        licence=LICENCE,
        intended_use=INTENDED_USE,
        training_data=TRAINING_DATA.format(
            children=len(training),
            girls=girls,
            boys=len(training) - girls,
            youngest=min(ages),
            oldest=max(ages),
        ),
        training_data_sha256=digest_of_annotations(training),
        split_sha256=cohort.split_sha256,
        youngest_months=min(ages),
        oldest_months=max(ages),
        preprocessing=rule,
        members=tuple(members),
        calibration=Calibration(coverage=0.9, groups=(unknown,)),
        phantom=Phantom(
            age_months=PHANTOM_AGE_MONTHS,
            sex=PHANTOM_SEX.value,
            digest=digest_of_pixels(pixels),
            known_value_months=0.0,
            tolerance_months=PHANTOM_TOLERANCE_MONTHS,
        ),
        metrics=(),
    )


def _calibrate(interview: Interview) -> Calibration:
    """Return intervals from children that no member was trained on, read as in the clinic."""
    images = [
        one
        for part in (Part.CALIBRATE, Part.VALIDATE)
        for one in clinical_images(interview.cohort, part)
    ]
    return fit_calibration(scored(interview.ask(images)))


def _read_phantom(ensemble: Ensemble) -> float:
    pixels = draw_phantom(age_months=PHANTOM_AGE_MONTHS, sex=PHANTOM_SEX).astype(np.float32)
    (estimate,) = ensemble.estimate([HandImage(pixels=pixels, sexes=(PHANTOM_SEX,))])
    return round(estimate.age_months, 3)


def draft_release(new: NewRelease, runs: Sequence[Path], *, cohort: Cohort) -> Path:
    """Write a release that nobody has calibrated or measured yet, and return its folder.

    Raises:
        RunMismatchError: the runs do not belong together.
        PermanentError: the mask network cannot be read.
    """
    read = _read_runs(new, runs, cohort)
    rule = _rule(new, read[0])
    draft = new.releases / f".{new.name}.part"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    manifest = _draft(
        new.name,
        new.version,
        [_write_member(draft, run, new.averaging) for run in read],
        training=select_children(_recipe_of(read[0].record), cohort, Part.TRAIN),
        cohort=cohort,
        rule=rule,
    )
    if new.gate is not None:
        gate = _write_gate(draft, new.gate)
        digests = {gate.file: digest_of_file(draft / gate.file)}
        manifest = manifest.model_copy(update={"gate": gate, "files": digests})
    if new.mask_network is not None and any(map(_wants_mask, read)):
        mask = write_mask(draft, new.mask_network)
        digests = {**manifest.files, mask.file: digest_of_file(draft / mask.file)}
        manifest = manifest.model_copy(update={"mask": mask, "files": digests})
    write_manifest(draft, manifest)
    return draft


@contextmanager
def _nothing_half_written(folder: Path) -> Iterator[None]:
    """Remove a folder where what is written into it does not come to its end."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def build_release(
    new: NewRelease,
    runs: Sequence[Path],
    *,
    cohort: Cohort,
    cache: Path | None = None,
    progress: Progress = ignore_progress,
    dicom: DicomPath | None = None,
) -> Manifest:
    """Write a release from run folders: calibrated, measured, with its card.

    The folder is written beside the place and put there when all is done; a release of the same
    name is replaced.

    Args:
        new: its name and what goes into it.
        runs: folders that ``train`` returned, one for each member.
        cohort: the children; those of ``calibrate`` and ``validate`` fit the intervals, those of
            ``test`` the tables.
        cache: folder that keeps what the members said.
        progress: told how far it is.
        dicom: how DICOM files are read; None: pictures of native aspect are read as decoded.

    Raises:
        RunMismatchError: the runs do not belong together.
        NoTrainingDataError: the data are not there.
    """
    with _nothing_half_written(new.releases / f".{new.name}.part"):
        draft = draft_release(new, runs, cohort=cohort)
        finished = _calibrate_and_measure(
            draft, cohort=cohort, cache=cache, progress=progress, dicom=dicom
        )
    final = new.releases / new.name
    if (final / MANIFEST_FILE).exists():
        shutil.rmtree(final)
    draft.rename(final)
    return finished


def _calibrate_and_measure(
    draft: Path,
    *,
    cohort: Cohort,
    cache: Path | None,
    progress: Progress,
    dicom: DicomPath | None,
) -> Manifest:
    ensemble = Ensemble(load_release(draft))
    manifest = ensemble.manifest
    interview = Interview(
        ensemble=ensemble, cohort=cohort, cache=cache, progress=progress, dicom=dicom
    )
    known = manifest.phantom.model_copy(update={"known_value_months": _read_phantom(ensemble)})
    write_manifest(
        draft,
        manifest.model_copy(update={"calibration": _calibrate(interview), "phantom": known}),
    )
    return evaluate(draft, cohort=cohort, cache=cache, progress=progress, dicom=dicom)
