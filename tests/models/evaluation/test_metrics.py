import numpy as np
import pytest

from models.evaluation.metrics import (
    Outcomes,
    bootstrap_mean,
    measure,
    measure_bands,
    measure_groups,
)


def outcomes(labels: list[float], ages: list[float]) -> Outcomes:
    said = np.array(ages)
    return Outcomes(
        sexes=np.array(["F", "M"] * (len(labels) // 2)),
        labels=np.array(labels),
        ages=said,
        lows=said - 10,
        highs=said + 10,
    )


def test_a_row_says_what_a_pencil_says() -> None:
    row = measure("all", outcomes([100, 100, 100, 100], [103, 92, 100, 125]))

    assert row.n == 4
    assert row.mae_months == 9.0
    assert row.rmse_months == pytest.approx(np.sqrt((9 + 64 + 625) / 4), abs=0.01)
    assert (row.within_6, row.within_12, row.within_24) == (0.5, 0.75, 0.75)
    assert row.coverage == 0.75


def test_groups_are_all_children_each_sex_and_the_bands_that_have_children() -> None:
    rows = measure_groups(outcomes([10, 100, 110, 200], [10, 100, 110, 200]))

    assert [row.group for row in rows] == [
        "all",
        "girls",
        "boys",
        "0 to 24 months",
        "96 to 132 months",
        "192 to 240 months",
    ]


@pytest.mark.parametrize(
    ("girls", "names"),
    [
        ([50.0] * 20, ["all girls"]),
        (
            [-1.0] + [50.0] * 100 + [150.0] * 100,
            ["girls estimated below 60 months", "girls estimated 60 months and more"],
        ),
        (
            [50.0] * 100 + [110.0] * 100 + [200.0] * 100,
            [
                "girls estimated below 60 months",
                "girls estimated 60 to 132 months",
                "girls estimated 132 months and more",
            ],
        ),
    ],
)
def test_bands_are_named_by_the_bounds_they_have(girls: list[float], names: list[str]) -> None:
    ages = [age for girl in girls for age in (girl, 100.0)]  # a boy of 100 months after each

    rows = measure_bands(outcomes(ages, ages), prefix="")

    named = [row for row in rows if "girls" in row.group]
    assert [row.group for row in named] == names
    assert sum(row.n for row in named) == len(girls)


def test_the_bootstrap_interval_holds_the_mean_and_narrows_with_more_children() -> None:
    errors = np.abs(np.random.default_rng(0).normal(0, 8, size=800))

    low, high = bootstrap_mean(errors)
    few_low, few_high = bootstrap_mean(errors[:80])

    assert low < errors.mean() < high
    assert high - low < few_high - few_low
