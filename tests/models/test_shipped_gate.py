"""How the trained gate of a shipped release does on real radiographs; they are for tests alone."""

import cv2
import numpy as np
import pytest

from models.ensemble import Ensemble, load_estimator
from models.release.manifest import find_release, list_releases, read_manifest
from models.training.cohort import NATIVE, Cohort
from models.training.gate.examples import read_others
from models.training.places import default_data
from models.training.split import Part
from schemas.estimates import HandImage, QualityFlag
from schemas.refusals import RefusalReason

DATA = default_data()
WITH_GATE = [name for name in list_releases() if read_manifest(find_release(name))[0].gate]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "not_hand.zip").exists(),
        reason=f"no radiographs at {DATA}; set BONEAGE_TEST_DATA to the folder that holds them",
    ),
    pytest.mark.skipif(not WITH_GATE, reason="no release here has a trained gate"),
]


@pytest.fixture(scope="module", params=WITH_GATE)
def ensemble(request: pytest.FixtureRequest) -> Ensemble:
    return load_estimator(str(request.param))


@pytest.fixture(scope="module")
def hands() -> list[HandImage]:
    cohort = Cohort(data=DATA)
    archive = cohort.open_archive()
    return [
        HandImage(
            pixels=archive.read(folder=one.folder, image_id=one.image_id).astype(np.float32),
            sexes=(one.sex,),
        )
        for one in cohort.select(Part.TEST, folders=NATIVE)[:12]
    ]


def test_other_bodies_are_refused_as_no_hand(ensemble: Ensemble) -> None:
    others = [one for one in read_others(DATA) if not one.may_train][::6]

    said = [ensemble.check(one.pixels.astype(np.float32)).refusal for one in others]

    assert np.mean([one is not None for one in said]) >= 0.99
    assert np.mean([one is RefusalReason.NOT_A_HAND for one in said]) >= 0.9


def test_a_turned_or_inverted_hand_is_mended_and_gets_the_same_age(
    ensemble: Ensemble, hands: list[HandImage]
) -> None:
    for hand in hands[:3]:
        (upright,) = ensemble.estimate([hand])
        for turns, sign in ((1, 1), (2, -1), (3, 1)):
            pixels = np.ascontiguousarray(np.rot90(sign * hand.pixels, turns))
            verdict = ensemble.check(pixels)
            image = HandImage(pixels=pixels, sexes=hand.sexes, mending=verdict.mending)
            (turned,) = ensemble.estimate([image])

            assert verdict.refusal is None
            assert QualityFlag.ORIENTATION_MENDED in verdict.flags
            assert (QualityFlag.POLARITY_MENDED in verdict.flags) is (sign < 0)
            assert turned.age_months == pytest.approx(upright.age_months, abs=0.5)


def test_two_hands_in_one_image_are_refused_as_that(
    ensemble: Ensemble, hands: list[HandImage]
) -> None:
    said = []
    for hand in hands:
        rows, columns = hand.pixels.shape
        other = cv2.resize(hand.pixels[:, ::-1], (columns, rows))
        pair = np.hstack([hand.pixels, np.asarray(other, dtype=np.float32)])
        said.append(ensemble.check(pair).refusal)

    assert np.mean([one is RefusalReason.BOTH_HANDS for one in said]) > 0.8


def test_fingers_without_a_wrist_are_refused_as_cut_off(
    ensemble: Ensemble, hands: list[HandImage]
) -> None:
    said = [
        ensemble.check(one.pixels[: round(0.45 * one.pixels.shape[0])]).refusal for one in hands
    ]

    assert np.mean([one is RefusalReason.CUT_OFF for one in said]) > 0.8
