"""Build a release from finished runs: weights, calibration, the phantom's value, table and card.

``python -m models.training.build NAME RUN RUN …`` writes ``models/releases/NAME``.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from models.calibration import Scored, fit_calibration
from models.ensemble import Ensemble
from models.phantom import digest_of_pixels, draw_phantom
from models.release.load import load_release
from models.release.manifest import MANIFEST_FILE, RELEASES, digest_of_file
from models.release.write import write_manifest
from models.training.annotations import digest_of_annotations
from models.training.cohort import Cohort
from models.training.evaluate import Progress, ask, evaluate, ignore_progress
from models.training.places import default_data
from models.training.split import Part
from models.training.train import RunFolder
from schemas.errors import UsageError
from schemas.estimates import HandImage
from schemas.images import Sex
from schemas.releases import (
    FORMAT_VERSION,
    Calibration,
    IntervalGroup,
    Manifest,
    Member,
    Phantom,
    PreprocessingRule,
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


class RunMismatchError(UsageError):
    """Runs cannot be put into one release."""

    code = "release.runs"

    def __init__(self, *, problem: str) -> None:
        super().__init__(
            f"These runs cannot make a release: {problem}. Nothing was written. "
            "Train them with one data folder, split and preprocessing rule."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    folder: RunFolder
    record: dict[str, Any]


def _read_runs(paths: Sequence[Path], cohort: Cohort) -> list[_Run]:
    runs = []
    for path in paths:
        folder = RunFolder(path=path)
        if not (folder.weights.is_file() and folder.record.is_file()):
            raise RunMismatchError(problem=f"{path} has no weights or no record")
        record = json.loads(folder.record.read_text(encoding="utf-8"))
        runs.append(_Run(folder=folder, record=record))
    for key in ("preprocessing", "split_sha256", "training_data_sha256"):
        if len({json.dumps(run.record[key]) for run in runs}) != 1:
            raise RunMismatchError(problem=f"they differ in {key}")
    if runs[0].record["split_sha256"] != cohort.split_sha256:
        raise RunMismatchError(problem="they were trained with another split")
    return runs


def _write_member(folder: Path, run: _Run) -> Member:
    """Write one network in half precision and return its entry."""
    record, recipe = run.record, run.record["recipe"]
    file = f"{recipe['name']}.safetensors"
    tensors = load_file(run.folder.weights)
    halved = {
        name: value.to(torch.float16) if value.is_floating_point() else value
        for name, value in tensors.items()
    }
    save_file(halved, folder / file)
    (folder / file).chmod(0o644)
    return Member(
        name=recipe["name"],
        file=file,
        sha256=digest_of_file(folder / file),
        architecture=recipe["architecture"],
        input_size=record["input_size"],
        hidden_features=recipe["hidden_features"],
        sex_features=recipe["sex_features"],
        age_mean_months=record["age_mean_months"],
        age_sd_months=record["age_sd_months"],
        recipe=recipe["name"],
        validation_mae_months=round(record["validation_mae_months"], 3),
    )


def _draft(
    name: str, version: str, members: Sequence[Member], *, cohort: Cohort, rule: PreprocessingRule
) -> Manifest:
    """Return the manifest before anything was measured with it."""
    training = cohort.select(Part.TRAIN)
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


def _calibrate(ensemble: Ensemble, *, cohort: Cohort, progress: Progress) -> Calibration:
    answers = ask(ensemble, cohort.select(Part.CALIBRATE), cohort=cohort, progress=progress)
    return fit_calibration(
        [
            Scored(sex=told.sex, label_months=told.age_months, age_months=said.age_months)
            for told, said in zip(answers.annotations, answers.estimates, strict=True)
        ]
    )


def _read_phantom(ensemble: Ensemble) -> float:
    pixels = draw_phantom(age_months=PHANTOM_AGE_MONTHS, sex=PHANTOM_SEX).astype(np.float32)
    (estimate,) = ensemble.estimate([HandImage(pixels=pixels, sexes=(PHANTOM_SEX,))])
    return round(estimate.age_months, 3)


def build_release(
    name: str,
    runs: Sequence[Path],
    *,
    cohort: Cohort,
    version: str = "1",
    releases: Path = RELEASES,
    progress: Progress = ignore_progress,
) -> Manifest:
    """Write a release from run folders: calibrated, measured, with its card.

    The folder is written beside the place and put there when all is done; a release of the same
    name is replaced.

    Args:
        name: folder name of the release.
        runs: folders that ``train`` returned, one for each member.
        cohort: the children; those of ``calibrate`` fit the intervals, those of ``test`` the table.
        version: version of the release.
        releases: where the folder is put.
        progress: told how many children are done.

    Raises:
        RunMismatchError: the runs do not belong together.
        NoTrainingDataError: the data are not there.
    """
    read = _read_runs(runs, cohort)
    rule = PreprocessingRule.model_validate(read[0].record["preprocessing"])
    draft = releases / f".{name}.part"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    members = [_write_member(draft, run) for run in read]
    manifest = _draft(name, version, members, cohort=cohort, rule=rule)
    write_manifest(draft, manifest)
    ensemble = Ensemble(load_release(draft))
    calibration = _calibrate(ensemble, cohort=cohort, progress=progress)
    known = manifest.phantom.model_copy(update={"known_value_months": _read_phantom(ensemble)})
    write_manifest(
        draft, manifest.model_copy(update={"calibration": calibration, "phantom": known})
    )
    finished = evaluate(draft, cohort=cohort, progress=progress)
    final = releases / name
    if (final / MANIFEST_FILE).exists():
        shutil.rmtree(final)
    draft.rename(final)
    return finished


def main() -> None:
    """Build a release from run folders."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--version", default="1")
    parser.add_argument("--releases", type=Path, default=RELEASES)
    parser.add_argument("--data", type=Path, default=default_data())
    given = parser.parse_args()
    build_release(
        given.name,
        given.runs,
        cohort=Cohort(data=given.data),
        version=given.version,
        releases=given.releases,
    )


if __name__ == "__main__":
    main()
