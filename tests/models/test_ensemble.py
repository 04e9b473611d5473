from pathlib import Path

import numpy as np
import pytest

from models.ensemble import Ensemble, NoSexGivenError, load_estimator
from models.phantom import draw_phantom
from schemas.errors import DeviceError
from schemas.estimates import Estimator, HandImage, QualityFlag
from schemas.images import Sex
from schemas.refusals import RefusalReason
from tests.models.builders import PHANTOM_AGE, drawn_hand, written_release

MONTHS_NOISE = 1e-3  # float32


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    return load_estimator(written_release(tmp_path_factory.mktemp("release")))


def test_a_loaded_release_is_an_estimator(ensemble: Ensemble) -> None:
    estimator: Estimator = ensemble

    assert estimator.release.name == "untrained"
    assert estimator.age_range_months == (6, 228)


def test_the_estimate_is_the_mean_of_the_members(ensemble: Ensemble) -> None:
    (reading,) = ensemble.read([HandImage(pixels=drawn_hand(), sexes=(Sex.MALE,))])

    (estimate,) = reading.estimates
    months = [member.age_months for member in estimate.members]
    assert [member.member for member in estimate.members] == ["member0", "member1"]
    assert estimate.age_months == pytest.approx(np.mean(months))
    assert estimate.spread_months == pytest.approx(np.std(months, ddof=1))


@pytest.mark.parametrize("size", [(240, 200), (299, 299), (500, 400)])
def test_what_was_begun_beside_the_check_changes_nothing_in_the_reading(
    ensemble: Ensemble, size: tuple[int, int]
) -> None:
    hand = drawn_hand(*size)
    verdict = ensemble.check(hand)

    (anew,) = ensemble.read([HandImage(pixels=hand, sexes=(Sex.MALE,))])
    (handed_on,) = ensemble.read([HandImage(pixels=hand, sexes=(Sex.MALE,), begun=verdict.begun)])

    assert verdict.begun is not None
    assert handed_on.estimates == anew.estimates
    np.testing.assert_array_equal(handed_on.heatmap.months, anew.heatmap.months)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused_before_anything_is_made_of_them(
    ensemble: Ensemble, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = drawn_hand(600, 500)
    hand[3, 3] = value
    made: list[object] = []
    monkeypatch.setattr("models.ensemble.Picture", made.append)

    verdict = ensemble.check(hand)

    assert verdict.refusal is RefusalReason.UNREADABLE_PIXELS
    assert (verdict.begun, made) == (None, [])


def test_the_interval_is_that_of_the_sex(ensemble: Ensemble) -> None:
    image = HandImage(pixels=drawn_hand(), sexes=(Sex.FEMALE, Sex.MALE))

    (reading,) = ensemble.read([image])

    girl, boy = reading.estimates
    assert girl.interval.high_months - girl.age_months == pytest.approx(15)
    assert boy.interval.high_months - boy.age_months == pytest.approx(20)


def test_an_image_read_as_both_sexes_gives_what_each_sex_gives_alone(ensemble: Ensemble) -> None:
    hand = drawn_hand()

    (both,) = ensemble.read([HandImage(pixels=hand, sexes=(Sex.FEMALE, Sex.MALE))])
    (girl,) = ensemble.read([HandImage(pixels=hand, sexes=(Sex.FEMALE,))])
    (boy,) = ensemble.read([HandImage(pixels=hand, sexes=(Sex.MALE,))])

    assert [one.sex for one in both.estimates] == [Sex.FEMALE, Sex.MALE]
    for together, alone in zip(both.estimates, [*girl.estimates, *boy.estimates], strict=True):
        assert together.age_months == pytest.approx(alone.age_months, abs=MONTHS_NOISE)


def test_an_image_gives_the_same_months_alone_and_in_a_batch(ensemble: Ensemble) -> None:
    first = HandImage(pixels=drawn_hand(), sexes=(Sex.FEMALE,))
    second = HandImage(pixels=drawn_hand(300, 260), sexes=(Sex.FEMALE, Sex.MALE))

    batch = ensemble.read([second, first])
    (alone,) = ensemble.read([first])

    assert batch[1].estimates[0].age_months == pytest.approx(
        alone.estimates[0].age_months, abs=MONTHS_NOISE
    )


def test_a_device_that_fails_under_a_network_is_in_doubt(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_image: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(ensemble.members[1].network, "features", fail)

    with pytest.raises(DeviceError, match="unspecified launch failure"):
        ensemble.read([HandImage(pixels=drawn_hand(), sexes=(Sex.MALE,))])


def test_no_sex_is_an_error_and_not_a_default(ensemble: Ensemble) -> None:
    with pytest.raises(NoSexGivenError, match="both sexes"):
        ensemble.read([HandImage(pixels=drawn_hand(), sexes=())])


def test_nothing_asked_is_nothing_read(ensemble: Ensemble) -> None:
    assert ensemble.read([]) == []


def test_the_heatmap_adds_up_to_the_first_estimate(ensemble: Ensemble) -> None:
    image = HandImage(pixels=drawn_hand(500, 400), sexes=(Sex.MALE, Sex.FEMALE))

    (reading,) = ensemble.read([image])

    total = reading.heatmap.months.sum(dtype=np.float64) + reading.heatmap.intercept_months
    assert total == pytest.approx(reading.estimates[0].age_months, abs=0.01)


def test_the_outline_lies_inside_the_image(ensemble: Ensemble) -> None:
    (reading,) = ensemble.read([HandImage(pixels=drawn_hand(500, 400), sexes=(Sex.MALE,))])

    assert reading.outline[0] == reading.outline[-1]
    assert all(0 <= column <= 400 and 0 <= row <= 500 for column, row in reading.outline)


def test_estimates_without_heatmaps_are_the_same(ensemble: Ensemble) -> None:
    image = HandImage(pixels=drawn_hand(), sexes=(Sex.FEMALE, Sex.MALE))

    (reading,) = ensemble.read([image])

    assert ensemble.estimate([image]) == list(reading.estimates)


def test_the_pinned_phantom_passes_the_gate_with_its_flag(ensemble: Ensemble) -> None:
    phantom = draw_phantom(age_months=PHANTOM_AGE, sex=Sex.FEMALE).astype(np.float32)

    verdict = ensemble.check(phantom)

    assert verdict.refusal is None
    assert verdict.flags == (QualityFlag.PHANTOM,)


def test_the_gate_speaks_through_the_estimator(ensemble: Ensemble) -> None:
    blank = np.zeros((400, 300), dtype=np.float32)

    assert ensemble.check(blank).refusal is RefusalReason.POOR_CONTRAST


def test_every_step_is_timed(ensemble: Ensemble) -> None:
    (reading,) = ensemble.read([HandImage(pixels=drawn_hand(), sexes=(Sex.MALE,))])

    assert set(reading.timings_ms) == {"preprocess", "networks", "heatmap"}


def test_two_loads_of_one_release_agree(tmp_path: Path) -> None:
    folder = written_release(tmp_path / "one")
    image = HandImage(pixels=drawn_hand(), sexes=(Sex.MALE,))

    first, second = load_estimator(folder), load_estimator(folder)

    assert first.release == second.release
    assert first.estimate([image]) == second.estimate([image])
