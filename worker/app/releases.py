"""Which release reads new images, and which site profile words the report."""

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.config import Config
from schemas.errors import BoneAgeError

if TYPE_CHECKING:
    from schemas.assessments import SiteProfile
    from schemas.estimates import ReleaseIdentity


def release_folder(config: Config) -> Path:
    """Return the folder of the configured release, or of the newest that ships.

    Raises:
        NoSuchReleaseError: there is none.
    """
    from models.release.manifest import find_release, newest_release

    return find_release(config.inference.release or newest_release())


def release(config: Config) -> "ReleaseIdentity":
    """Return the identity of the release that reads new images; loads no weights."""
    from models.release.manifest import read_manifest

    return read_manifest(release_folder(config))[1]


def release_name(config: Config) -> str:
    """Return the name of the release that reads new images; empty where there is none."""
    try:
        return release(config).name
    except BoneAgeError:
        return ""


def site_profile(config: Config) -> "SiteProfile":
    """Return the site profile of the settings, or the built-in one.

    Raises:
        SiteProfileError: it cannot be used.
    """
    from schemas.site_profile import SiteProfileError, default_profile, parse_profile

    path = config.report.profile
    try:
        return default_profile() if path is None else parse_profile(path.read_bytes())
    except OSError as error:
        raise SiteProfileError(problem=f"it cannot be read ({error.strerror})") from error
