import pytest

from schemas.assessments import ReferenceTable
from schemas.growth import GROWTH_TABLES, GrowthTable
from schemas.images import Sex

BRUSH = ReferenceTable.BRUSH_FOUNDATION
GREULICH_PYLE = ReferenceTable.GREULICH_PYLE_1959
EVERY_TABLE = list(GROWTH_TABLES.values())


@pytest.mark.parametrize(
    ("reference", "sex", "age", "sd"),
    [
        (BRUSH, Sex.MALE, 3, 0.69),
        (BRUSH, Sex.MALE, 120, 9.79),
        (BRUSH, Sex.MALE, 204, 13.05),
        (BRUSH, Sex.FEMALE, 60, 11.65),
        (BRUSH, Sex.FEMALE, 156, 10.67),
        (BRUSH, Sex.FEMALE, 192, 7.31),
        (GREULICH_PYLE, Sex.MALE, 12, 2.1),
        (GREULICH_PYLE, Sex.MALE, 180, 14.2),
        (GREULICH_PYLE, Sex.FEMALE, 156, 14.6),
        (GREULICH_PYLE, Sex.FEMALE, 180, 11.2),
    ],
)
def test_a_row_of_the_table_is_given_as_it_was_published(
    reference: ReferenceTable, sex: Sex, age: float, sd: float
) -> None:
    norm = GROWTH_TABLES[reference, sex].at(age)

    assert norm is not None
    assert norm.sd_months == sd


def test_the_brush_means_are_given_too() -> None:
    norm = GROWTH_TABLES[BRUSH, Sex.FEMALE].at(168)

    assert norm is not None
    assert norm.mean_months == 174.25


def test_the_greulich_pyle_table_claims_no_means() -> None:
    norm = GROWTH_TABLES[GREULICH_PYLE, Sex.MALE].at(100)

    assert norm is not None
    assert norm.mean_months is None


def test_between_two_rows_the_table_is_interpolated() -> None:
    norm = GROWTH_TABLES[BRUSH, Sex.MALE].at(126)  # half way between 120 and 132

    assert norm is not None
    assert norm.sd_months == pytest.approx((9.79 + 10.09) / 2)
    assert norm.mean_months == pytest.approx((125.68 + 137.32) / 2)


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: table.population)
@pytest.mark.parametrize("beyond", [-0.01, 0.01])
def test_no_table_is_extrapolated(table: GrowthTable, beyond: float) -> None:
    end = table.ages_months[0] if beyond < 0 else table.ages_months[-1]

    assert table.at(end) is not None
    assert table.at(end + beyond) is None


def test_the_greulich_pyle_table_of_girls_ends_at_fifteen() -> None:
    assert GROWTH_TABLES[GREULICH_PYLE, Sex.FEMALE].ages_months[-1] == 15 * 12


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: table.population)
def test_every_column_of_a_table_is_as_long_as_its_ages(table: GrowthTable) -> None:
    ages = table.ages_months

    assert list(ages) == sorted(set(ages))
    assert len(table.sds_months) == len(ages)
    assert table.means_months is None or len(table.means_months) == len(ages)


@pytest.mark.parametrize("sex", Sex)
def test_the_brush_means_grow_with_age(sex: Sex) -> None:
    means = GROWTH_TABLES[BRUSH, sex].means_months

    assert means is not None
    assert list(means) == sorted(means)


def test_every_table_says_how_far_it_was_checked() -> None:
    assert all(table.checked and table.authority for table in EVERY_TABLE)
