"""Checkpoints of others in, one release of ours out: all of it, or nothing."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from models.ensemble import load_estimator
from models.phantom import digest_of_pixels, draw_phantom
from models.release.import_card import write_import_card
from models.release.importing.bone_age_convnext import (
    convert_bone_age_convnext,
    is_bone_age_convnext,
)
from models.release.importing.boneage_predict import (
    convert_boneage_predict,
    is_boneage_predict,
)
from models.release.importing.converted import ConvertedMask, ConvertedMember, ImportOptions
from models.release.importing.deeplasia import (
    convert_deeplasia,
    convert_mask,
    is_deeplasia,
    is_deeplasia_mask,
)
from models.release.importing.errors import (
    BadOptionError,
    NoAgeInsideError,
    ReleaseExistsError,
    UnknownLayoutError,
)
from models.release.importing.unpickle import Checkpoint, read_checkpoint
from models.release.manifest import CARD_FILE, RELEASES, digest_of_file, read_manifest
from models.release.write import write_manifest
from models.transforms import DEFAULT_RULE
from schemas.estimates import HandImage, ReleaseIdentity
from schemas.images import Sex
from schemas.releases import (
    FORMAT_VERSION,
    Calibration,
    IntervalGroup,
    Manifest,
    MaskNetwork,
    Member,
    Phantom,
)

#: sorts below every version of ours, so that an imported release reads only where it is asked for
VERSION = "imported"
COVERAGE = 0.9
#: the interval of a release whose errors nobody has measured here: so wide that no child is called
#: advanced or delayed on its word alone
UNMEASURED_HALF_WIDTH = 30.0
_YOUNGEST, _OLDEST = 1.0, 228.0  #: labels of the RSNA images
_PHANTOM_AGE, _PHANTOM_TOLERANCE = 120.0, 0.1
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_PREFIXES = ("model.", "module.", "_orig_mod.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRelease:
    """What the operator says about the release."""

    name: str
    half_width_months: float = UNMEASURED_HALF_WIDTH
    licence: str | None = None  #: None: as the authors state it


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRelease:
    """What came of it."""

    folder: Path
    identity: ReleaseIdentity
    members: tuple[str, ...]
    decisions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Converted:
    members: tuple[ConvertedMember, ...]
    mask: ConvertedMask | None
    decisions: tuple[str, ...]


def _without_prefix(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint without the name of a wrapper before every tensor."""
    for prefix in _PREFIXES:
        if checkpoint.tensors and all(name.startswith(prefix) for name in checkpoint.tensors):
            tensors = {
                name.removeprefix(prefix): value for name, value in checkpoint.tensors.items()
            }
            return Checkpoint(
                path=checkpoint.path,
                tensors=tensors,
                hyper_parameters=checkpoint.hyper_parameters,
                values=checkpoint.values,
            )
    return checkpoint


def _convert_one(
    checkpoint: Checkpoint, *, use_mask: bool, options: ImportOptions
) -> list[ConvertedMember]:
    tensors = checkpoint.tensors
    if is_boneage_predict(tensors):
        return [convert_boneage_predict(checkpoint, options=options)]
    if is_bone_age_convnext(tensors):
        return convert_bone_age_convnext(checkpoint, options=options)
    if is_deeplasia(tensors):
        return [convert_deeplasia(checkpoint, use_mask=use_mask, options=options)]
    raise UnknownLayoutError(path=checkpoint.path, names=sorted(tensors))


def _convert(paths: Sequence[Path], options: ImportOptions) -> _Converted:
    """Return members and mask network of all files; no two members have one name."""
    checkpoints = [_without_prefix(read_checkpoint(path)) for path in paths]
    masks = [one for one in checkpoints if is_deeplasia_mask(one.tensors)]
    if len(masks) > 1:
        raise BadOptionError(
            option=str(masks[1].path),
            problem="is a second mask network",
            mend="Give one mask network for all members.",
        )
    mask = convert_mask(masks[0]) if masks else None
    members: dict[str, ConvertedMember] = {}
    for checkpoint in checkpoints:
        if is_deeplasia_mask(checkpoint.tensors):
            continue
        for member in _convert_one(checkpoint, use_mask=mask is not None, options=options):
            if member.name in members:
                raise BadOptionError(
                    option=str(checkpoint.path),
                    problem="would give a second member of the same name",
                    mend="Rename one of the files: a member is called as its file.",
                )
            members[member.name] = member
    if not members:
        raise NoAgeInsideError(path=paths[0], why="there is a mask network alone")
    said = [f"{one.name}: {text}" for one in members.values() for text in one.decisions]
    said += mask.decisions if mask else []
    return _Converted(members=tuple(members.values()), mask=mask, decisions=tuple(said))


def _write_weights(
    folder: Path, converted: _Converted
) -> tuple[tuple[Member, ...], dict[str, str]]:
    """Write every file of weights; return the members' entries and the other checksums."""
    entries = []
    for one in converted.members:
        file = f"{one.name}.safetensors"
        save_file(one.tensors, folder / file)
        entries.append(
            Member(
                name=one.name,
                file=file,
                sha256=digest_of_file(folder / file),
                architecture=one.architecture,
                input_size=one.input_size,
                hidden_features=0,
                sex_features=one.sex_features,
                age_mean_months=one.age_mean_months,
                age_sd_months=one.age_sd_months,
                recipe=one.origin,
                preprocessing=one.preprocessing,
                imported=one.imported,
                averaging=one.averaging,
                crop_share=one.crop_share,
            )
        )
    files = {}
    if converted.mask is not None:
        file = converted.mask.entry.file
        save_file(converted.mask.tensors, folder / file)
        files[file] = digest_of_file(folder / file)
    return tuple(entries), files


def _interval_decision(new: NewRelease) -> str:
    why = (
        "nobody has measured its errors here, so it is wide"
        if new.half_width_months == UNMEASURED_HALF_WIDTH
        else "as told"
    )
    return f"interval: {new.half_width_months:g} months on both sides; {why} (--half-width)"


def _manifest(
    folder: Path, converted: _Converted, new: NewRelease, *, phantom_digest: str
) -> Manifest:
    """Return the manifest but for the phantom's value; the weights are written."""
    entries, files = _write_weights(folder, converted)
    decisions = (*converted.decisions, _interval_decision(new))
    licences = sorted({one.licence for one in converted.members})
    group = IntervalGroup(sex="*", half_width_months=new.half_width_months, n=0)
    mask: MaskNetwork | None = converted.mask.entry if converted.mask else None
    return Manifest(
        format_version=FORMAT_VERSION,
        name=new.name,
        version=VERSION,
        licence=new.licence or " ".join(licences),
        intended_use="Comparison with the work of others on one hand of a child from a "
        "posterior-anterior radiograph. Research use only, not for diagnosis.",
        training_data="RSNA Pediatric Bone Age images, as the authors of the checkpoints state.",
        training_data_sha256="",
        split_sha256="",
        youngest_months=_YOUNGEST,
        oldest_months=_OLDEST,
        preprocessing=DEFAULT_RULE,
        members=entries,
        calibration=Calibration(coverage=COVERAGE, groups=(group,)),
        phantom=Phantom(
            age_months=_PHANTOM_AGE,
            sex=Sex.FEMALE.value,
            digest=phantom_digest,
            known_value_months=0.0,
            tolerance_months=_PHANTOM_TOLERANCE,
        ),
        metrics=(),
        files=files,
        mask=mask,
        decisions=decisions,
    )


def _fill(folder: Path, converted: _Converted, new: NewRelease) -> None:
    """Write the whole release, and ask it once, so that what cannot be read is never kept."""
    pixels = draw_phantom(age_months=_PHANTOM_AGE, sex=Sex.FEMALE)
    manifest = _manifest(folder, converted, new, phantom_digest=digest_of_pixels(pixels))
    write_manifest(folder, manifest)
    image = HandImage(pixels=pixels.astype(np.float32), sexes=(Sex.FEMALE,))
    (estimate,) = load_estimator(folder).estimate([image])
    known = manifest.phantom.model_copy(
        update={"known_value_months": round(estimate.age_months, 4)}
    )
    measured = manifest.model_copy(update={"phantom": known})
    write_import_card(folder / CARD_FILE, measured)
    files = {**measured.files, CARD_FILE: digest_of_file(folder / CARD_FILE)}
    write_manifest(folder, measured.model_copy(update={"files": files}))


def _check_name(name: str, *, into: Path) -> Path:
    if not _NAME.fullmatch(name):
        raise BadOptionError(
            option=f"--name {name!r}",
            problem="cannot be the name of a folder",
            mend="Use small letters, digits, dots and hyphens.",
        )
    if (into / name).exists():
        raise ReleaseExistsError(path=into / name)
    return into / name


def import_release(
    paths: Sequence[Path],
    *,
    new: NewRelease,
    options: ImportOptions,
    into: Path = RELEASES,
) -> ImportedRelease:
    """Turn checkpoints of others into a release, and return what was decided.

    The folder appears complete, under its name, after the release has been loaded and asked once;
    until then it is a hidden folder beside, which goes away whatever happens.

    Args:
        paths: checkpoints of networks for the age, and at most one mask network.
        new: name, interval and licence of the release.
        options: what the checkpoints themselves do not say.
        into: the folder of releases that it is put into.

    Raises:
        PermanentError: one of the classes in ``models.release.importing.errors``; nothing was
            written.
    """
    folder = _check_name(new.name, into=into)
    _check_biases(paths, options.biases or {})
    converted = _convert(paths, options)
    into.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{new.name}-", dir=into))
    try:
        _fill(beside, converted, new)
        beside.chmod(0o755)  # mkdtemp's folder is its maker's alone
        manifest, identity = read_manifest(beside)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return ImportedRelease(
        folder=folder,
        identity=identity,
        members=tuple(one.name for one in converted.members),
        decisions=manifest.decisions or (),
    )


def _check_biases(paths: Sequence[Path], biases: Mapping[str, object]) -> None:
    unknown = sorted(biases.keys() - {path.stem for path in paths})
    if unknown:
        raise BadOptionError(
            option=f"--bias {unknown[0]}",
            problem="names no file that is imported",
            mend="Name a file without its ending: --bias STEM=SLOPE,INTERCEPT.",
        )
