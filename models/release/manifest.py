"""Read and verify a release without its networks: no torch, so that every process may ask."""

import hashlib
import tomllib
from pathlib import Path

from pydantic import ValidationError

from models.release.errors import (
    ChecksumError,
    FormatVersionError,
    ManifestError,
    MissingFileError,
    NoSuchReleaseError,
)
from schemas.estimates import ReleaseIdentity
from schemas.releases import FORMAT_VERSION, Manifest

RELEASES = Path(__file__).parents[1] / "releases"
MANIFEST_FILE = "release.toml"
CARD_FILE = "card.md"


def digest_of_file(path: Path) -> str:
    """Return sha256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_release(release: str | Path, *, releases: Path = RELEASES) -> Path:
    """Return the folder of a release, given by its name or its path.

    Raises:
        NoSuchReleaseError: neither is a release.
    """
    for folder in (releases / release, Path(release)):
        if (folder / MANIFEST_FILE).is_file():
            return folder
    is_name = len(Path(release).parts) == 1
    raise NoSuchReleaseError(path=releases / release if is_name else Path(release))


def list_releases(releases: Path = RELEASES) -> list[str]:
    """Return the names of the releases in a folder, sorted."""
    return sorted(one.parent.name for one in releases.glob(f"[!.]*/{MANIFEST_FILE}"))


def newest_release(releases: Path = RELEASES) -> str:
    """Return the name of the release with the highest version.

    Raises:
        NoSuchReleaseError: the folder holds none.
    """
    names = list_releases(releases)
    if not names:
        raise NoSuchReleaseError(path=releases)
    return max(names, key=lambda name: _order(read_manifest(releases / name)[0].version))


def _order(version: str) -> tuple[tuple[int, str], ...]:
    """Return what sorts 2026.10 after 2026.9."""
    parts = version.replace("-", ".").split(".")
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def read_manifest(folder: Path) -> tuple[Manifest, ReleaseIdentity]:
    """Return manifest and identity; the digest is that of the bytes of release.toml.

    Raises:
        NoSuchReleaseError: there is no release.toml.
        FormatVersionError: it was written for another version of this software.
        ManifestError: it is not a manifest.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise NoSuchReleaseError(path=folder)
    text = path.read_bytes()
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(path=path, problem=str(error)) from error
    if table.get("format_version") != FORMAT_VERSION:
        found = table.get("format_version")
        raise FormatVersionError(path=path, found=found, expected=FORMAT_VERSION)
    try:
        manifest = Manifest.model_validate(table)
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise ManifestError(path=path, problem=f"wrong or missing: {keys}") from error
    identity = ReleaseIdentity(
        name=manifest.name,
        version=manifest.version,
        digest=hashlib.sha256(text).hexdigest(),
        licence=manifest.licence,
    )
    return manifest, identity


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare every listed file with its checksum.

    Raises:
        ManifestError: a listed name leaves the folder.
        MissingFileError: a file is not there.
        ChecksumError: a file is not what the manifest says.
    """
    listed = {member.file: member.sha256 for member in manifest.members} | manifest.files
    for file, expected in listed.items():
        if Path(file).name != file:
            raise ManifestError(path=folder / MANIFEST_FILE, problem=f"{file!r} is no file name")
        if not (folder / file).is_file():
            raise MissingFileError(path=folder / file)
        found = digest_of_file(folder / file)
        if found != expected:
            raise ChecksumError(path=folder / file, found=found, expected=expected)


def verify_release(release: str | Path, *, releases: Path = RELEASES) -> ReleaseIdentity:
    """Return the identity of a release whose files are all what its manifest says.

    Raises:
        PermanentError: one of the classes in ``models.release.errors`` says what is wrong.
    """
    folder = find_release(release, releases=releases)
    manifest, identity = read_manifest(folder)
    verify_files(folder, manifest)
    return identity
