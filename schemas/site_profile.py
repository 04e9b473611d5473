"""Reads a site profile from TOML; the digest covers its bytes, so that any change is seen."""

import hashlib
import tomllib
from datetime import date

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.assessments import Centring, LocalCalibration, ReferenceTable, SiteProfile
from schemas.errors import UsageError
from schemas.images import Sex

DEFAULT_PROFILE = """\
# The site profile: what a site decides and what changes the reading of a number.
name = "default"
version = "1"
# "brush_foundation" or "greulich_pyle_1959"; neither is extrapolated
reference = "brush_foundation"
# "chronological_age" or "table_mean": what the 2-SD band is centred on
centring = "chronological_age"
# A correction of the site's own, by sex: slope * months + offset_months. The report says both
# values. None is built in; one for girls would read:
# [calibration.F]
# slope = 1.0
# offset_months = -3.5
# children = 120          # how many it was fitted on
# fitted_on = 2026-01-31
"""


class SiteProfileError(UsageError):
    """The site profile cannot be used."""

    code = "profile.unusable"

    def __init__(self, *, problem: str) -> None:
        super().__init__(
            f"The site profile cannot be used: {problem}. Nothing was read with it. Correct the "
            "file named under [report] profile, or remove that key to use the built-in default."
        )


class _Calibration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    slope: float = Field(ge=0.8, le=1.25)  # beyond: the release is wrong for these children
    offset_months: float = Field(ge=-24, le=24)
    children: int = Field(ge=30)  # fewer give a mean that is itself months off
    fitted_on: date


class _ProfileFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=64, pattern=r"^[ -~]+$")
    version: str = Field(min_length=1, max_length=16, pattern=r"^[ -~]+$")
    reference: ReferenceTable = ReferenceTable.BRUSH_FOUNDATION
    centring: Centring = Centring.CHRONOLOGICAL_AGE
    calibration: dict[Sex, _Calibration] = Field(default_factory=dict)


def parse_profile(content: bytes) -> SiteProfile:
    """Return the profile that the TOML file ``content`` describes.

    Raises:
        SiteProfileError: not TOML, an unknown or missing key, or a table without means that the
            band should be centred on.
    """
    try:
        read = _ProfileFile.model_validate(tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SiteProfileError(problem=f"it is not TOML in UTF-8 ({error})") from None
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SiteProfileError(problem=told) from None
    lacks_means = read.reference is ReferenceTable.GREULICH_PYLE_1959
    if lacks_means and read.centring is Centring.TABLE_MEAN:
        raise SiteProfileError(
            problem="greulich_pyle_1959 holds no means, so the band cannot be centred on them; "
            'set centring = "chronological_age"'
        )
    return SiteProfile(
        name=read.name,
        version=read.version,
        digest=hashlib.sha256(content).hexdigest(),
        reference=read.reference,
        centring=read.centring,
        calibrations=tuple(
            LocalCalibration(
                sex=sex,
                slope=one.slope,
                offset_months=one.offset_months,
                children=one.children,
                fitted_on=one.fitted_on,
            )
            for sex, one in sorted(read.calibration.items())
        ),
    )


def default_profile() -> SiteProfile:
    """Return the built-in profile."""
    return parse_profile(DEFAULT_PROFILE.encode())
