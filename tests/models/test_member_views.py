"""A member's months may be the mean over several views of a picture."""

from pathlib import Path

import numpy as np
import pytest

from models.ensemble import load_estimator
from models.member_input import Picture
from models.release.manifest import read_manifest
from models.transforms import DEFAULT_RULE
from schemas.estimates import HandImage
from schemas.images import Sex
from schemas.releases import Averaging, Member
from tests.models.builders import drawn_hand, written_release


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_release(tmp_path_factory.mktemp("plain"))


def members(plain: Path, averaging: Averaging) -> tuple[Member, ...]:
    return tuple(
        one.model_copy(update={"averaging": averaging}) for one in read_manifest(plain)[0].members
    )


def test_mirrored_and_plain_hands_get_the_same_months_from_a_mirroring_release(
    plain: Path, tmp_path: Path
) -> None:
    folder = written_release(tmp_path / "m", members=members(plain, Averaging.MIRROR))
    ensemble = load_estimator(folder)
    hand = drawn_hand(300, 240)
    mirrored = np.ascontiguousarray(hand[:, ::-1])

    first, second = ensemble.read(
        [HandImage(pixels=one, sexes=(Sex.MALE,)) for one in (hand, mirrored)]
    )

    assert first.estimates[0].age_months == pytest.approx(second.estimates[0].age_months, abs=1e-3)
    np.testing.assert_allclose(first.heatmap.months[:, ::-1], second.heatmap.months, atol=1e-4)


def test_a_mirroring_release_says_the_mean_of_both_views(plain: Path, tmp_path: Path) -> None:
    folder = written_release(tmp_path / "m", members=members(plain, Averaging.MIRROR))
    hand = drawn_hand(300, 240)
    both = [
        HandImage(pixels=one, sexes=(Sex.MALE,))
        for one in (hand, np.ascontiguousarray(hand[:, ::-1]))
    ]

    apart = [one.age_months for one in load_estimator(plain).estimate(both)]
    (together, _) = load_estimator(folder).estimate(both)

    assert together.age_months == pytest.approx(np.mean(apart), abs=1e-3)


def test_five_crops_are_the_corners_and_the_middle(plain: Path) -> None:
    member = members(plain, Averaging.FIVE_CROPS)[0].model_copy(update={"crop_share": 0.8})
    picture = Picture(drawn_hand(400, 320), rule=DEFAULT_RULE)

    views = picture.views_for(member)

    places = [(one.frame.top, one.frame.left) for one in views]
    assert places == pytest.approx(np.array([(0, 0), (0, 64), (80, 0), (80, 64), (40, 32)]))
    assert {one.frame.height for one in views} == {320.0}
    assert all(one.values.shape == (1, 64, 64) for one in views)


@pytest.mark.parametrize("averaging", list(Averaging))
def test_a_heatmap_adds_up_to_the_estimate_whatever_is_averaged(
    averaging: Averaging, plain: Path, tmp_path: Path
) -> None:
    ensemble = load_estimator(written_release(tmp_path / "m", members=members(plain, averaging)))

    (reading,) = ensemble.read([HandImage(pixels=drawn_hand(300, 240), sexes=(Sex.FEMALE,))])

    total = float(reading.heatmap.months.sum()) + reading.heatmap.intercept_months
    assert total == pytest.approx(reading.estimates[0].age_months, abs=1e-2)
