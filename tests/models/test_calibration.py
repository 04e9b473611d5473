import itertools

import numpy as np
import pytest

from models.calibration import (
    LEAST_CHILDREN,
    NoCalibrationError,
    Scored,
    TooFewChildrenError,
    choose_bands,
    conformal_half_width,
    fit_calibration,
    interval_of,
)
from schemas.images import Sex
from schemas.releases import Calibration, IntervalGroup


def scored_children(count: int, *, error_sd: float, seed: int = 0) -> list[Scored]:
    random = np.random.default_rng(seed)
    return [
        Scored(
            sex=Sex.MALE if index % 2 else Sex.FEMALE,
            label_months=(label := float(random.uniform(10, 220))),
            age_months=label + float(random.normal(0, error_sd)),
        )
        for index in range(count)
    ]


def test_the_half_width_is_the_corrected_quantile_of_the_errors() -> None:
    errors = np.arange(1.0, 100.0)  # 99 errors: rank ceil(100 * 0.9) = 90

    assert conformal_half_width(errors, coverage=0.9) == 90.0


def test_too_few_children_give_no_interval() -> None:
    with pytest.raises(TooFewChildrenError, match="at least 9"):
        conformal_half_width(np.ones(8), coverage=0.9)


def test_new_children_fall_inside_as_often_as_stated() -> None:
    calibration = fit_calibration(scored_children(1200, error_sd=8))

    new = scored_children(4000, error_sd=8, seed=1)
    inside = [
        (interval := interval_of(one.age_months, sex=one.sex, calibration=calibration)).low_months
        <= one.label_months
        <= interval.high_months
        for one in new
    ]

    # 600 calibration children a sex: the share varies by about 1.5 points
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)


def test_every_band_has_enough_children() -> None:
    calibration = fit_calibration(scored_children(1200, error_sd=8))

    assert all(group.n >= LEAST_CHILDREN for group in calibration.groups)


def test_the_bands_leave_no_age_without_an_interval() -> None:
    ages = np.concatenate([np.full(150, 30.0), np.full(20, 100.0), np.full(150, 150.0)])

    bands = choose_bands(ages, least=100)

    assert bands[0][0] == 0
    assert all(left[1] == right[0] for left, right in itertools.pairwise(bands))
    assert bands[-1][1] == 1000


def test_few_children_share_one_band() -> None:
    assert choose_bands(np.full(20, 80.0), least=100) == [(0.0, 1000.0)]


def test_an_interval_does_not_reach_before_birth() -> None:
    group = IntervalGroup(sex="*", half_width_months=20, n=100)
    calibration = Calibration(coverage=0.9, groups=(group,))

    interval = interval_of(8.0, sex=Sex.FEMALE, calibration=calibration)

    assert (interval.low_months, interval.high_months) == (0.0, 28.0)


def test_a_sex_without_calibration_is_an_error_and_not_a_guess() -> None:
    group = IntervalGroup(sex="F", half_width_months=20, n=100)

    with pytest.raises(NoCalibrationError, match="sex M"):
        interval_of(80, sex=Sex.MALE, calibration=Calibration(coverage=0.9, groups=(group,)))


@pytest.mark.parametrize("months", [5000.0, float("nan")])
def test_an_age_that_no_hand_has_is_not_blamed_on_the_release(months: float) -> None:
    group = IntervalGroup(sex="M", half_width_months=20, n=100)

    with pytest.raises(NoCalibrationError, match="the age of no hand"):
        interval_of(months, sex=Sex.MALE, calibration=Calibration(coverage=0.9, groups=(group,)))
