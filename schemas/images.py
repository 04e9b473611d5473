"""What the header says about an image, and from which attribute each fact came."""

from dataclasses import dataclass
from enum import StrEnum


class Sex(StrEnum):
    """The two values that the networks were trained with (PS3.3 C.7.1.1, Patient's Sex)."""

    FEMALE = "F"
    MALE = "M"


class SexSource(StrEnum):
    """Where the sex came from."""

    PATIENT_SEX = "patient_sex"  #: Patient's Sex (0010,0040)
    OPERATOR = "operator"  #: `boneage estimate --sex`
    UNKNOWN = "unknown"  #: absent, empty, or neither M nor F


@dataclass(frozen=True, slots=True, kw_only=True)
class SexReading:
    """The sex that is used, and where it came from; ``None`` is never replaced by a guess."""

    sex: Sex | None
    source: SexSource


class DateSource(StrEnum):
    """The date that the age was reckoned at, in the order of preference."""

    ACQUISITION_DATE = "acquisition_date"  #: (0008,0022), or Acquisition DateTime (0008,002A)
    SERIES_DATE = "series_date"  #: (0008,0021)
    STUDY_DATE = "study_date"  #: (0008,0020)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChronologicalAge:
    """Age on the day of the image, from birth date and the first usable date."""

    months: float  #: days / 30.4375
    source: DateSource


class MissingAge(StrEnum):
    """Why there is no chronological age, hence no Z-score."""

    NO_BIRTH_DATE = "no_birth_date"
    NO_IMAGE_DATE = "no_image_date"
    BORN_AFTER_IMAGE = "born_after_image"
    IMPOSSIBLE_DATE = "impossible_date"
    CONTRADICTION = "contradiction"  #: two ages of the header lie more than a year apart


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """The facts of one image that decide how it is read and what the report says."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    rows: int
    columns: int
    photometric_interpretation: str
    laterality: str | None  #: "L" or "R" as the header says; never inferred
    sex: SexReading
    chronological_age: ChronologicalAge | None
    missing_age: MissingAge | None
    transfer_syntax_uid: str
    patient_orientation: tuple[str, ...] = ()
    is_phantom: bool = False
