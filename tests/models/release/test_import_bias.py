"""The unit of a bias correction is told from its size, or asked for."""

from pathlib import Path

import pytest

from models.release.importing.bias import decide_units, published_bias
from models.release.importing.errors import BiasUnitsError

MEAN, SD = 127.3, 41.2
FILE = Path("model.ckpt")


def test_a_small_intercept_is_a_z_score() -> None:
    bias = decide_units(FILE, slope=0.04, intercept=0.02, mean=MEAN, sd=SD, units=None)

    assert bias.intercept_months == pytest.approx(0.02 * SD - 0.04 * MEAN)
    assert "z-score" in bias.decision


def test_an_intercept_of_several_months_is_months() -> None:
    bias = decide_units(FILE, slope=0.1002, intercept=-12.4127, mean=MEAN, sd=SD, units=None)

    assert bias.intercept_months == -12.4127
    assert "read as months" in bias.decision


def test_the_published_corrections_are_told_right_in_either_unit() -> None:
    for slope, intercept in ((0.0375, -3.8066), (0.0432, -4.7941), (0.1002, -12.4127)):
        as_z = (intercept + slope * MEAN) / SD

        bias = decide_units(FILE, slope=slope, intercept=as_z, mean=MEAN, sd=SD, units=None)

        assert bias.intercept_months == pytest.approx(intercept)


@pytest.mark.parametrize(("slope", "intercept"), [(0.04, 0.45), (0.001, 0.3), (0.0, 20.0)])
def test_a_correction_that_fits_no_unit_is_asked_for(slope: float, intercept: float) -> None:
    with pytest.raises(BiasUnitsError, match=r"model\.ckpt.*--bias-units"):
        decide_units(FILE, slope=slope, intercept=intercept, mean=MEAN, sd=SD, units=None)


def test_the_operator_has_the_last_word() -> None:
    bias = decide_units(FILE, slope=0.04, intercept=0.45, mean=MEAN, sd=SD, units="months")

    assert bias.intercept_months == 0.45


@pytest.mark.parametrize(
    ("name", "slope"),
    [
        ("masked_effnet_super_shallow_fancy_aug.ckpt", 0.0375),
        ("masked_effnet_supShal_highRes_fancy_aug.ckpt", 0.0432),
        ("masked_effnet-b4_shallow_pretr_fancy_aug.ckpt", 0.1002),
    ],
)
def test_the_published_ensemble_is_known_by_its_names(name: str, slope: float) -> None:
    bias = published_bias(Path(name))

    assert bias is not None
    assert bias.slope == slope


def test_another_name_brings_no_correction() -> None:
    assert published_bias(Path("epoch-5.ckpt")) is None
