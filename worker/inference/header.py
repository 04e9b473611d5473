"""What the header says about an image. Nothing is guessed: what it does not say is unknown."""

import re
from collections.abc import Iterator
from datetime import date
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset

from schemas.errors import PermanentError, UnsuitableImageError
from schemas.estimates import QualityFlag
from schemas.images import (
    ChronologicalAge,
    DateSource,
    MissingAge,
    Sex,
    SexReading,
    SexSource,
    SourceImage,
)
from schemas.phantom import PHANTOM_PATIENT_ID
from schemas.refusals import RefusalReason
from worker.inference.attributes import (
    UNREADABLE,
    ImpossibleDateError,
    date_of,
    items_of,
    lenient_values,
    text_of,
)

DAYS_PER_MONTH: Final = 30.4375  # 365.25 / 12, as schemas.images states
OLDEST_MONTHS: Final = 19 * 12  # DESIGN, section 5: above 19 years nothing is read

#: where the day of the image is looked for, best first
_DATE_KEYWORDS = (
    ("AcquisitionDate", DateSource.ACQUISITION_DATE),
    ("AcquisitionDateTime", DateSource.ACQUISITION_DATE),
    ("SeriesDate", DateSource.SERIES_DATE),
    ("StudyDate", DateSource.STUDY_DATE),
)
#: days by which the dates of one image may differ before one of them must be wrong
_DATES_AGREE_DAYS: Final = 31
#: months by which they may, before the age is unknown: a year is one SD, and so another class
_AGES_AGREE_MONTHS: Final = 12.0
#: Patient's Age, an AS: PS3.5 table 6.2-1. Unit → months
_AGE = re.compile(r"(\d{3})([DWMY])")
_UNIT_MONTHS = MappingProxyType(
    {"D": 1 / DAYS_PER_MONTH, "W": 7 / DAYS_PER_MONTH, "M": 1.0, "Y": 12.0}
)
#: anatomic modifiers that name a side (CID 244, and the same in the older SNOMED RT form)
_SIDES = MappingProxyType(
    {
        ("SCT", "7771000"): "L",
        ("SCT", "24028007"): "R",
        ("SRT", "G-A101"): "L",
        ("SRT", "G-A100"): "R",
        ("SNM3", "G-A101"): "L",
        ("SNM3", "G-A100"): "R",
    }
)


class MissingIdentityError(PermanentError):
    """The object does not say which instance, series or study it is."""

    code = "header.missing_identity"

    def __init__(self, *, keyword: str) -> None:
        super().__init__(
            f"{keyword} is absent or empty, so no result could be put beside this image. Ask the "
            "sender to mend the object; nothing can be done with it here."
        )


def read_source(dataset: Dataset, *, sex: Sex | None = None) -> SourceImage:
    """Return the facts of one image.

    Args:
        dataset: a received data set; any attribute but the UIDs may be absent or malformed.
        sex: what an operator said on the command line; it goes before the header.

    Raises:
        MissingIdentityError: a UID without which no report can be written is absent.
    """
    with lenient_values():
        age, missing = _chronological_age(dataset)
        return SourceImage(
            sop_instance_uid=uid_of(dataset, "SOPInstanceUID"),
            sop_class_uid=uid_of(dataset, "SOPClassUID"),
            study_instance_uid=uid_of(dataset, "StudyInstanceUID"),
            series_instance_uid=uid_of(dataset, "SeriesInstanceUID"),
            rows=_count(dataset, "Rows"),
            columns=_count(dataset, "Columns"),
            photometric_interpretation=text_of(dataset, "PhotometricInterpretation"),
            laterality=_laterality(dataset),
            sex=_sex(dataset, by_operator=sex),
            chronological_age=age,
            missing_age=missing,
            transfer_syntax_uid=_transfer_syntax(dataset),
            patient_orientation=_patient_orientation(dataset),
            is_phantom=text_of(dataset, "PatientID") == PHANTOM_PATIENT_ID,
        )


def uid_of(dataset: Dataset, keyword: str) -> str:
    """Return a UID that every object must have.

    Raises:
        MissingIdentityError: it is absent or empty.
    """
    uid = text_of(dataset, keyword)
    if uid in ("", UNREADABLE):
        raise MissingIdentityError(keyword=keyword)
    return uid


def header_flags(dataset: Dataset, source: SourceImage) -> tuple[QualityFlag, ...]:
    """Return the doubts that the header itself raises."""
    flags = [QualityFlag.PHANTOM] if source.is_phantom else []
    if source.missing_age is MissingAge.CONTRADICTION or _is_doubtful(dataset, source):
        flags.append(QualityFlag.AGE_CONTRADICTION)
    return tuple(flags)


def require_readable_age(
    dataset: Dataset, source: SourceImage, *, age_range_months: tuple[float, float]
) -> None:
    """Let pass only ages that the release reads; an unknown age passes, and is reported so.

    Raises:
        UnsuitableImageError: too young, too old, or the birth date and Patient's Age disagree
            about just that.
    """
    low, high = age_range_months[0], min(age_range_months[1], OLDEST_MONTHS)
    with lenient_values():
        age, _ = _reckoned_age(dataset)  # also where another entry contradicts it
    stated = _stated_age_months(dataset)
    is_outside = age is not None and not low <= age.months <= high
    is_stated_outside = stated is not None and (stated[1] < low or stated[0] > high)
    if not (is_outside or is_stated_outside):
        return
    is_either = age is not None and not is_outside
    if is_either or source.missing_age is MissingAge.CONTRADICTION:
        raise UnsuitableImageError(
            RefusalReason.CONTRADICTION,
            keyword="age",
            found="inside the range by one entry of the header, outside by another",
            expected=f"ages from {low:.0f} to {high:.0f} months",
        )
    raise UnsuitableImageError(
        RefusalReason.AGE_OUTSIDE_RANGE,
        keyword="age",
        found="below the range" if _is_below(age, stated, low) else "above the range",
        expected=f"ages from {low:.0f} to {high:.0f} months",
    )


def _is_below(age: ChronologicalAge | None, stated: tuple[float, float] | None, low: float) -> bool:
    months = age.months if age else stated[0] if stated else low
    return months < low


def _count(dataset: Dataset, keyword: str) -> int:
    text = text_of(dataset, keyword)
    return int(text) if text.isdecimal() else 0


def _transfer_syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    return text_of(meta, "TransferSyntaxUID") if meta is not None else ""


def _sex(dataset: Dataset, *, by_operator: Sex | None) -> SexReading:
    """Return M or F exactly as written; O, U, empty and everything else are unknown."""
    if by_operator is not None:
        return SexReading(sex=by_operator, source=SexSource.OPERATOR)
    text = text_of(dataset, "PatientSex")
    if text in (Sex.FEMALE, Sex.MALE):
        return SexReading(sex=Sex(text), source=SexSource.PATIENT_SEX)
    return SexReading(sex=None, source=SexSource.UNKNOWN)


def _laterality(dataset: Dataset) -> str | None:
    """Return the side on which all attributes that name one agree."""
    named = {text_of(dataset, keyword) for keyword in ("ImageLaterality", "Laterality")}
    named |= {
        _SIDES.get((text_of(side, "CodingSchemeDesignator"), text_of(side, "CodeValue")), "")
        for region in items_of(dataset, "AnatomicRegionSequence")
        for side in items_of(region, "AnatomicRegionModifierSequence")
    }
    sides = named & {"L", "R", "B"}
    return sides.pop() if len(sides) == 1 and "B" not in sides else None


def _patient_orientation(dataset: Dataset) -> tuple[str, ...]:
    directions = tuple(text_of(dataset, "PatientOrientation").split("\\"))
    return directions if len(directions) == 2 and all(directions) else ()  # noqa: PLR2004 - row, column


def _chronological_age(dataset: Dataset) -> tuple[ChronologicalAge | None, MissingAge | None]:
    """Return the age by the dates; none where the header holds another, more than a year away."""
    age, missing = _reckoned_age(dataset)
    if age is None:
        return None, missing
    apart = max(_months_between_dates(dataset), _months_from_stated(dataset, age))
    if apart > _AGES_AGREE_MONTHS:
        return None, MissingAge.CONTRADICTION
    return age, None


def _reckoned_age(dataset: Dataset) -> tuple[ChronologicalAge | None, MissingAge | None]:
    try:
        born = date_of(dataset, "PatientBirthDate")
    except ImpossibleDateError:
        return None, MissingAge.IMPOSSIBLE_DATE
    if born is None:
        return None, MissingAge.NO_BIRTH_DATE
    usable = list(_image_dates(dataset))
    if not usable:
        has_any = any(text_of(dataset, keyword) for keyword, _ in _DATE_KEYWORDS)
        return None, MissingAge.IMPOSSIBLE_DATE if has_any else MissingAge.NO_IMAGE_DATE
    taken, source = usable[0]
    if taken < born:
        return None, MissingAge.BORN_AFTER_IMAGE
    return ChronologicalAge(months=(taken - born).days / DAYS_PER_MONTH, source=source), None


def _image_dates(dataset: Dataset) -> Iterator[tuple[date, DateSource]]:
    """Yield the days of the calendar among the dates of the image, best first."""
    for keyword, source in _DATE_KEYWORDS:
        try:
            taken = date_of(dataset, keyword)
        except ImpossibleDateError:
            continue
        if taken is not None:
            yield taken, source


def _is_doubtful(dataset: Dataset, source: SourceImage) -> bool:
    """Say whether the dates of the image differ, or the age by them from Patient's Age."""
    age = source.chronological_age
    with lenient_values():
        apart = _months_between_dates(dataset)
    is_other_age = age is not None and _months_from_stated(dataset, age) > 0
    return apart * DAYS_PER_MONTH > _DATES_AGREE_DAYS or is_other_age


def _months_between_dates(dataset: Dataset) -> float:
    days = [taken for taken, _ in _image_dates(dataset)]
    return (max(days) - min(days)).days / DAYS_PER_MONTH if days else 0.0


def _months_from_stated(dataset: Dataset, age: ChronologicalAge) -> float:
    """Return how far the reckoned age lies outside Patient's Age, 0 inside its precision.

    A stated age is a whole number, rounded down or to the nearest, often on the day before:
    half a unit to either side is its own precision.
    """
    stated = _stated_age_months(dataset)
    if stated is None:
        return 0.0
    half = (stated[1] - stated[0]) / 2
    return max(stated[0] - half - age.months, age.months - stated[1] - half, 0.0)


def _stated_age_months(dataset: Dataset) -> tuple[float, float] | None:
    """Return the months that Patient's Age (0010,1010) spans: "010Y" is 120 up to 132."""
    with lenient_values():
        found = _AGE.fullmatch(text_of(dataset, "PatientAge"))
    if found is None or (count := int(found[1])) == 0:  # 000Y is a common word for unknown
        return None
    unit = _UNIT_MONTHS[found[2]]
    return count * unit, (count + 1) * unit
