"""What is evaluated: a release, or a run that is made into a release for the while."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.calibration import fit_calibration
from models.ensemble import Ensemble, load_estimator
from models.evaluation.answers import Interview, Progress
from models.evaluation.dicom_path import DicomPath
from models.evaluation.release import clinical_images, scored
from models.release.manifest import read_manifest
from models.release.write import write_manifest
from models.training.build import NewRelease, draft_release
from models.training.cohort import Cohort
from models.training.run_folder import RunFolder
from models.training.split import Part
from schemas.releases import Averaging, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a target is asked."""

    cohort: Cohort
    averaging: Averaging | None = None  #: None: as the release says
    device: str = "cpu"
    cache: Path | None = None
    progress: Progress
    dicom: DicomPath | None = None  #: how DICOM files are read; None: pictures as decoded
    mask_network: Path | None = None  #: finds the hand for a run that was trained with masks


def is_run(target: str | Path) -> bool:
    """Say whether this is the folder of a run."""
    return RunFolder(path=Path(target)).record.is_file()


def views_of(target: str | Path) -> str:
    """Return the views that a target is read in, where nobody asks for others.

    Those of a run are its recipe's ``test_augmentation``; a release has its own.
    """
    if not is_run(target):
        return "as-released"
    recipe = RunFolder(path=Path(target)).read_record().get("recipe", {})
    return str(recipe.get("test_augmentation", "none")).replace("_", "-")


@contextmanager
def opened(target: str | Path, asking: Asking) -> Iterator[Interview]:
    """Give an interview with a release, or with a run, whose release lives as long as this.

    The intervals of a run are fitted on the validation part, as nobody has calibrated it.

    Raises:
        PermanentError: it is neither, or cannot be loaded.
    """
    if not is_run(target):
        yield _interview(load_estimator(target, device=asking.device), asking)
        return
    with tempfile.TemporaryDirectory(prefix="boneage-run-") as folder:
        averaging = asking.averaging or Averaging.NONE
        draft = draft_release(
            NewRelease(
                name="run",
                averaging=averaging,
                releases=Path(folder),
                mask_network=asking.mask_network,
            ),
            [Path(target)],
            cohort=asking.cohort,
        )
        interview = _interview(load_estimator(draft, device=asking.device), asking)
        answers = interview.ask(clinical_images(asking.cohort, Part.VALIDATE))
        manifest, _ = read_manifest(draft)
        calibration = fit_calibration(scored(answers))
        write_manifest(draft, manifest.model_copy(update={"calibration": calibration}))
        yield _interview(load_estimator(draft, device=asking.device), asking)


def _interview(ensemble: Ensemble, asking: Asking) -> Interview:
    asked = ensemble
    if asking.averaging is not None:
        asked = ensemble.with_manifest(_averaged(ensemble.manifest, asking.averaging))
    return Interview(
        ensemble=asked,
        cohort=asking.cohort,
        cache=asking.cache,
        progress=asking.progress,
        dicom=asking.dicom,
    )


def _averaged(manifest: Manifest, averaging: Averaging) -> Manifest:
    members = tuple(one.seen_in(averaging) for one in manifest.members)
    return manifest.model_copy(update={"members": members})
