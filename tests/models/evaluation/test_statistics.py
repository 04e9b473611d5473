import numpy as np
import pytest

from models.evaluation.page import chance_interval
from models.evaluation.statistics import correct, fit_bias, pearson, score_sex


def test_a_bias_that_is_a_line_is_taken_off_to_the_last_bit() -> None:
    labels = np.linspace(20, 200, 40)
    ages = (labels + 6) / 0.9  # error = 0.1 * estimate - 6

    line = fit_bias(labels, ages, sex="*")

    assert (line.slope, line.intercept_months) == pytest.approx((0.1, 6.0))
    np.testing.assert_allclose(correct(ages, np.array(["F"] * 40), (line,)), labels)


def test_each_sex_is_corrected_by_its_own_line() -> None:
    labels = np.array([100.0, 120.0, 140.0] * 2)
    sexes = np.array(["F"] * 3 + ["M"] * 3)
    ages = labels + np.where(sexes == "F", 5.0, -8.0)
    lines = tuple(fit_bias(labels[sexes == sex], ages[sexes == sex], sex=sex) for sex in ("F", "M"))

    np.testing.assert_allclose(correct(ages, sexes, lines), labels)


def test_pearson_is_one_on_a_line_and_nothing_where_nothing_varies() -> None:
    labels = np.array([1.0, 2.0, 4.0])

    assert pearson(labels, 3 * labels + 2) == pytest.approx(1.0)
    assert pearson(labels, np.ones(3)) == 0.0


def test_a_sex_that_is_always_told_rightly_scores_one() -> None:
    scores = score_sex("m", np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))

    assert (scores.accuracy, scores.auroc, scores.f1) == (1.0, 1.0, 1.0)
    assert scores.confusion == ((2, 0), (0, 2))


def test_scores_of_a_predicted_sex_are_those_of_a_pencil() -> None:
    logits = np.array([3.0, 1.0, -1.0, 2.0, -2.0, -3.0])
    is_boy = np.array([True, True, True, False, False, False])

    scores = score_sex("m", logits, is_boy)

    assert scores.confusion == ((2, 1), (1, 2))
    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.f1 == pytest.approx(2 / 3)
    # of nine pairs of boy and girl, the boy scores higher in seven
    assert scores.auroc == pytest.approx(7 / 9)


def test_equal_scores_count_half() -> None:
    scores = score_sex("m", np.zeros(4), np.array([True, False, True, False]))

    assert scores.auroc == pytest.approx(0.5)


def test_the_chance_interval_of_a_hundred_children_is_that_of_the_table() -> None:
    assert chance_interval(100, 0.9) == (0.84, 0.95)  # binomial quantiles of n = 100, p = 0.9
