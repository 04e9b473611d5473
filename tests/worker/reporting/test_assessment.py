import pytest

from schemas.assessments import (
    Assessment,
    Centring,
    MaturityClass,
    NoAssessment,
    ReferenceTable,
    SiteProfile,
)
from schemas.estimates import Interval
from schemas.images import ChronologicalAge, DateSource, Sex
from schemas.site_profile import default_profile
from tests.worker.reporting.contents import estimate_of
from worker.reporting.assessment import NoTableMeanError, assess, maturity_of

PROFILE = default_profile()


def aged(months: float) -> ChronologicalAge:
    return ChronologicalAge(months=months, source=DateSource.STUDY_DATE)


def profile_of(reference: ReferenceTable, centring: Centring) -> SiteProfile:
    return SiteProfile(
        name="ours", version="1", digest="0" * 64, reference=reference, centring=centring
    )


def interval(low: float, high: float, *, coverage: float = 0.9) -> Interval:
    return Interval(low_months=low, high_months=high, coverage=coverage)


def test_the_z_score_is_the_distance_from_the_childs_own_age_in_sd() -> None:
    found = assess(estimate_of(Sex.MALE, 129.79), Sex.MALE, aged(120), PROFILE)

    assert isinstance(found, Assessment)
    assert found.mean_months == 120
    assert found.sd_months == 9.79
    assert found.z_score == pytest.approx(1.0)


def test_a_site_may_centre_on_the_mean_of_the_table() -> None:
    profile = profile_of(ReferenceTable.BRUSH_FOUNDATION, Centring.TABLE_MEAN)

    found = assess(estimate_of(Sex.FEMALE, 174.25), Sex.FEMALE, aged(168), profile)

    assert isinstance(found, Assessment)
    assert found.z_score == pytest.approx(0)


def test_a_table_without_means_cannot_be_centred_on_them() -> None:
    profile = profile_of(ReferenceTable.GREULICH_PYLE_1959, Centring.TABLE_MEAN)

    with pytest.raises(NoTableMeanError):
        assess(estimate_of(Sex.MALE), Sex.MALE, aged(120), profile)


def test_the_two_tables_may_give_one_child_two_classes() -> None:
    estimate = estimate_of(Sex.FEMALE, 181.0, half_width=2.0)
    other = profile_of(ReferenceTable.GREULICH_PYLE_1959, Centring.CHRONOLOGICAL_AGE)

    brush = assess(estimate, Sex.FEMALE, aged(156), PROFILE)
    greulich_pyle = assess(estimate, Sex.FEMALE, aged(156), other)

    assert isinstance(brush, Assessment)
    assert isinstance(greulich_pyle, Assessment)
    assert brush.maturity is MaturityClass.ADVANCED
    assert greulich_pyle.maturity is MaturityClass.WITHIN


@pytest.mark.parametrize(
    ("sex", "age", "why"),
    [
        (None, aged(120), NoAssessment.NO_SEX),
        (Sex.MALE, None, NoAssessment.NO_AGE),
        (Sex.FEMALE, aged(192.1), NoAssessment.OUTSIDE_TABLE),
        (Sex.MALE, aged(2.9), NoAssessment.OUTSIDE_TABLE),
    ],
)
def test_what_cannot_be_assessed_says_why(
    sex: Sex | None, age: ChronologicalAge | None, why: NoAssessment
) -> None:
    assert assess(estimate_of(Sex.MALE), sex, age, PROFILE) is why


@pytest.mark.parametrize(
    ("low", "high", "maturity"),
    [
        (100, 140, MaturityClass.WITHIN),  # exactly the band
        (110, 130, MaturityClass.WITHIN),
        (140.1, 160, MaturityClass.ADVANCED),
        (80, 99.9, MaturityClass.DELAYED),
        (139, 141, MaturityClass.NOT_SEPARABLE),
        (99, 101, MaturityClass.NOT_SEPARABLE),
        (90, 150, MaturityClass.NOT_SEPARABLE),
    ],
)
def test_a_class_needs_the_whole_interval_on_one_side_of_the_limit(
    low: float, high: float, maturity: MaturityClass
) -> None:
    assert maturity_of(interval(low, high), low_months=100, high_months=140) is maturity


def test_a_narrower_interval_than_90_percent_decides_nothing() -> None:
    narrow = interval(119, 121, coverage=0.8)

    found = maturity_of(narrow, low_months=100, high_months=140)

    assert found is MaturityClass.NOT_SEPARABLE
