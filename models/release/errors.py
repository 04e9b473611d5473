"""What can be wrong with a release; in every case nothing is loaded."""

from pathlib import Path

from schemas.errors import PermanentError


class NoSuchReleaseError(PermanentError):
    """The folder of a release is not there."""

    code = "release.missing"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"There is no release at {path} (no release.toml). "
            "`boneage release list` shows those there are."
        )


class ManifestError(PermanentError):
    """release.toml cannot be read as a manifest."""

    code = "release.manifest"

    def __init__(self, *, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} is not a valid manifest: {problem}. Nothing was loaded. "
            "Restore the release from its source."
        )


class FormatVersionError(PermanentError):
    """The manifest was written for another version of this software."""

    code = "release.format_version"

    def __init__(self, *, path: Path, found: object, expected: int) -> None:
        super().__init__(
            f"{path} has format version {found!r}, this software reads {expected}. "
            "Nothing was loaded. Install the version of the software that the release names, "
            "or a release made for this one."
        )


class MissingFileError(PermanentError):
    """A file that the manifest lists is not there."""

    code = "release.file_missing"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"The release lists {path}, but the file is not there. Nothing was loaded. "
            "Restore the release from its source."
        )


class ChecksumError(PermanentError):
    """A file is not what the manifest says."""

    code = "release.checksum"

    def __init__(self, *, path: Path, found: str, expected: str) -> None:
        super().__init__(
            f"{path} has sha256 {found[:12]}…, the manifest says {expected[:12]}…. "
            "Nothing was loaded. The file was damaged or changed: restore it from its source."
        )


class WeightsError(PermanentError):
    """The weights do not fit the architecture that the manifest names."""

    code = "release.weights"

    def __init__(self, *, path: Path, architecture: str) -> None:
        super().__init__(
            f"The tensors in {path} do not fit {architecture}. Nothing was loaded. "
            "Correct the architecture in release.toml, or build the release again."
        )
