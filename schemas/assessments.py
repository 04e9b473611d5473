"""What the bone age means beside the chronological age."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from schemas.images import Sex


class ReferenceTable(StrEnum):
    """The table that a Z-score is reckoned in; the site profile chooses."""

    BRUSH_FOUNDATION = "brush_foundation"
    GREULICH_PYLE_1959 = "greulich_pyle_1959"


class Centring(StrEnum):
    """What the 2-SD band is centred on; the site profile chooses."""

    CHRONOLOGICAL_AGE = "chronological_age"
    TABLE_MEAN = "table_mean"


class MaturityClass(StrEnum):
    """Given only when the whole 90 % interval lies on one side of a 2-SD limit."""

    WITHIN = "within"
    ADVANCED = "advanced"
    DELAYED = "delayed"
    NOT_SEPARABLE = "not_separable"


class NoAssessment(StrEnum):
    """Why there is no Z-score and no class."""

    NO_SEX = "no_sex"
    NO_AGE = "no_age"
    OUTSIDE_TABLE = "outside_table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Bone age against the reference, in months; the table is interpolated, never extrapolated."""

    reference: ReferenceTable
    centring: Centring
    mean_months: float  #: centre of the band at this age and sex
    sd_months: float
    z_score: float
    maturity: MaturityClass


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCalibration:
    """How a site corrects the ages of one sex: ``slope * months + offset_months``."""

    sex: Sex
    slope: float
    offset_months: float
    children: int  #: how many it was fitted on
    fitted_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteProfile:
    """What a site decides and what changes the reading of a number. Versioned; has a digest."""

    name: str
    version: str
    digest: str  #: sha256 of the profile file, or of the built-in default's text
    reference: ReferenceTable = ReferenceTable.BRUSH_FOUNDATION
    centring: Centring = Centring.CHRONOLOGICAL_AGE
    calibrations: tuple[LocalCalibration, ...] = ()  #: one for a sex at most; none: as it is

    def calibration_for(self, sex: Sex) -> LocalCalibration | None:
        """Return how the ages of ``sex`` are corrected, if they are."""
        return next((one for one in self.calibrations if one.sex is sex), None)
