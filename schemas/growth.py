"""The reference tables: mean and standard deviation of skeletal age, by chronological age and sex.

Two tables circulate under one name. They differ by up to 4 months in one SD, so that the same
child can change class: the report always names the one that was used.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas.assessments import ReferenceTable
from schemas.images import Sex


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthNorm:
    """What a table says at one age, in months."""

    mean_months: float | None  #: None: this table was published to us without its means
    sd_months: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthTable:
    """One table for one sex; between two rows it is interpolated, outside it says nothing."""

    authority: str
    population: str
    checked: str  #: how far the numbers were compared with other copies
    ages_months: tuple[float, ...]
    means_months: tuple[float, ...] | None
    sds_months: tuple[float, ...]

    def at(self, age_months: float) -> GrowthNorm | None:
        """Return mean and SD at ``age_months``, linear between rows; None outside the table."""
        ages = self.ages_months
        if not ages[0] <= age_months <= ages[-1]:
            return None
        below = min(bisect_right(ages, age_months) - 1, len(ages) - 2)
        share = (age_months - ages[below]) / (ages[below + 1] - ages[below])
        means = self.means_months
        return GrowthNorm(
            mean_months=None if means is None else _between(means, below=below, share=share),
            sd_months=_between(self.sds_months, below=below, share=share),
        )


def _between(values: tuple[float, ...], *, below: int, share: float) -> float:
    return values[below] + share * (values[below + 1] - values[below])


_BRUSH_AUTHORITY = "Brush Foundation data in Greulich and Pyle 1959"
# Means: one public copy (a growth chart of a bone-age worker). SDs: three public copies, among
# them dfnr2/bone-age-app BrushFoundationData.js and that growth chart; all 47 SDs are identical.
# Not compared with the printed page.
_BRUSH_CHECKED = "SDs identical in three published copies, means from one; not against the print"
_BRUSH_AGES = (
    *(3.0, 6.0, 9.0, 12.0, 18.0, 24.0, 30.0, 36.0, 42.0, 48.0, 54.0, 60.0),
    *(72.0, 84.0, 96.0, 108.0, 120.0, 132.0, 144.0, 156.0, 168.0, 180.0, 192.0),
)

_BRUSH_BOYS = GrowthTable(
    authority=_BRUSH_AUTHORITY,
    population="boys, Brush Foundation study",
    checked=_BRUSH_CHECKED,
    ages_months=(*_BRUSH_AGES, 204.0),
    means_months=(
        *(3.01, 6.09, 9.56, 12.74, 19.36, 25.97, 32.40, 38.21, 43.89, 49.04, 56.00, 62.43),
        *(75.46, 88.20, 101.38, 113.90, 125.68, 137.32, 148.82, 158.39, 170.02, 182.72),
        *(195.32, 206.21),
    ),
    sds_months=(
        *(0.69, 1.13, 1.43, 1.97, 3.52, 3.92, 4.52, 5.08, 5.40, 6.66, 8.36, 8.79),
        *(9.17, 8.91, 9.10, 9.00, 9.79, 10.09, 10.38, 10.44, 10.72, 11.32, 12.86, 13.05),
    ),
)

_BRUSH_GIRLS = GrowthTable(
    authority=_BRUSH_AUTHORITY,
    population="girls, Brush Foundation study",
    checked=_BRUSH_CHECKED,
    ages_months=_BRUSH_AGES,
    means_months=(
        *(3.02, 6.04, 9.05, 12.04, 18.22, 24.16, 30.96, 36.63, 43.50, 50.14, 60.06, 66.21),
        *(78.50, 89.30, 100.66, 113.86, 125.66, 137.86, 149.62, 162.28, 174.25, 183.62),
        189.44,
    ),
    sds_months=(
        *(0.72, 1.16, 1.36, 1.77, 3.49, 4.64, 5.37, 5.97, 7.48, 8.98, 10.73, 11.65),
        *(10.23, 9.64, 10.23, 10.74, 11.73, 11.94, 10.24, 10.67, 11.30, 9.23, 7.31),
    ),
)

_GREULICH_PYLE_AUTHORITY = "Greulich and Pyle 1959, 2nd edition"
# Tables V (boys) and VI (girls), "Means and Standard Deviations for Skeletal Age (Hand)", as
# transcribed by claudemn61/Knochenalter, greulich-pyle-sd.ts, the SDs alone. One transcription,
# compared with no other. The girls' table ends at 15 years.
_GREULICH_PYLE_CHECKED = "one published transcription of the SDs, compared with no other"
_GREULICH_PYLE_AGES = (
    *(12.0, 18.0, 24.0, 30.0, 36.0, 42.0, 48.0, 54.0, 60.0, 66.0),
    *(72.0, 84.0, 96.0, 108.0, 120.0, 132.0, 144.0, 156.0, 168.0, 180.0),
)

_GREULICH_PYLE_BOYS = GrowthTable(
    authority=_GREULICH_PYLE_AUTHORITY,
    population="boys, table V",
    checked=_GREULICH_PYLE_CHECKED,
    ages_months=(*_GREULICH_PYLE_AGES, 192.0, 204.0),
    means_months=None,
    sds_months=(
        *(2.1, 2.7, 4.0, 5.4, 6.0, 6.6, 7.0, 7.8, 8.4, 9.1),
        *(9.3, 10.1, 10.8, 11.0, 11.4, 10.5, 10.4, 11.1, 12.0, 14.2, 15.1, 15.4),
    ),
)

_GREULICH_PYLE_GIRLS = GrowthTable(
    authority=_GREULICH_PYLE_AUTHORITY,
    population="girls, table VI",
    checked=_GREULICH_PYLE_CHECKED,
    ages_months=_GREULICH_PYLE_AGES,
    means_months=None,
    sds_months=(
        *(2.7, 3.4, 4.0, 4.8, 5.6, 6.5, 7.2, 8.0, 8.6, 8.9),
        *(9.0, 8.3, 8.8, 9.3, 10.8, 12.3, 14.0, 14.6, 12.6, 11.2),
    ),
)

GROWTH_TABLES: Mapping[tuple[ReferenceTable, Sex], GrowthTable] = MappingProxyType(
    {
        (ReferenceTable.BRUSH_FOUNDATION, Sex.MALE): _BRUSH_BOYS,
        (ReferenceTable.BRUSH_FOUNDATION, Sex.FEMALE): _BRUSH_GIRLS,
        (ReferenceTable.GREULICH_PYLE_1959, Sex.MALE): _GREULICH_PYLE_BOYS,
        (ReferenceTable.GREULICH_PYLE_1959, Sex.FEMALE): _GREULICH_PYLE_GIRLS,
    }
)
