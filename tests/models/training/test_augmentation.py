import cv2
import numpy as np
import pytest

from models.training.augmentation import Augmentation, augment
from tests.models.builders import drawn_hand

UNCHANGED = Augmentation(
    flip=0, rotation_degrees=0, wide_rotation=0, scale_from=1, scale_to=1, stretch=0, shift=0,
    intensity=0, gamma=0,
    frame=0,
)  # fmt: skip


def unit_hand() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return drawn_hand(96, 96) / np.float32(160)


def test_the_same_seed_gives_the_same_change() -> None:
    first = augment(unit_hand(), Augmentation(), np.random.default_rng((1, 2, 3)))
    second = augment(unit_hand(), Augmentation(), np.random.default_rng((1, 2, 3)))

    assert (first == second).all()


def test_a_changed_image_keeps_size_and_range() -> None:
    for seed in range(50):
        changed = augment(unit_hand(), Augmentation(), np.random.default_rng(seed))

        assert changed.shape == (96, 96)
        assert changed.dtype == np.float32
        assert changed.min() >= 0
        assert changed.max() <= 1


def test_nothing_asked_changes_nothing() -> None:
    hand = unit_hand()

    changed = augment(hand, UNCHANGED, np.random.default_rng(0))

    assert np.abs(changed - hand).max() < 1e-6


def test_a_flip_is_a_mirror_image() -> None:
    hand = unit_hand()
    always = Augmentation(
        flip=1, rotation_degrees=0, wide_rotation=0, scale_from=1, scale_to=1, stretch=0, shift=0,
        intensity=0,
        gamma=0, frame=0,
    )  # fmt: skip

    changed = augment(hand, always, np.random.default_rng(0))

    assert np.abs(changed - hand[:, ::-1]).max() < 1e-6


@pytest.mark.parametrize(
    "options",
    [
        Augmentation(uniform_operations=2),
        Augmentation(shear_degrees=10, sharpen=1.0),
        Augmentation(clahe=1.0, clahe_clip=3.0),
        Augmentation(shrink=1.0, one_sided=True),
    ],
    ids=["uniform", "shear", "clahe", "shrink"],
)
def test_the_changes_of_other_projects_keep_size_and_range(options: Augmentation) -> None:
    hand = unit_hand()
    for seed in range(20):
        changed = augment(hand, options, np.random.default_rng(seed))

        assert changed.shape == hand.shape
        assert changed.dtype == np.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        assert not (changed == hand).all()


def test_a_share_that_is_not_placed_stays_where_it_is() -> None:
    hand = unit_hand()
    still = UNCHANGED.model_copy(update={"placed": 0.0, "flip": 1.0, "rotation_degrees": 90.0})

    assert (augment(hand, still, np.random.default_rng(0)) == hand).all()


def test_a_shrunk_image_has_a_black_margin() -> None:
    bright = np.ones((120, 120), dtype=np.float32)
    shrunk = UNCHANGED.model_copy(update={"shrink": 1.0, "black_margin": 1.0})

    changed = augment(bright, shrunk, np.random.default_rng(0))

    assert changed[:8].max() == 0
    assert changed[12:108, 12:108].min() == 1


def test_local_equalisation_lifts_a_weak_contrast() -> None:
    weak = 0.45 + 0.1 * unit_hand()
    equalised = UNCHANGED.model_copy(update={"clahe": 1.0})

    assert augment(weak, equalised, np.random.default_rng(0)).std() > weak.std()


def test_a_turn_on_a_wider_field_keeps_every_mark_at_the_edge() -> None:
    marked = np.zeros((120, 120), dtype=np.float32)
    marked[2:8, 2:8] = marked[-8:-2, -8:-2] = marked[2:8, -8:-2] = marked[-8:-2, 2:8] = 1.0
    wider = UNCHANGED.model_copy(update={"field": 1.0, "field_border": 0.0})
    for seed in range(30):
        shown = augment(marked, wider, np.random.default_rng(seed))

        count, _ = cv2.connectedComponents((shown > 0.2).astype(np.uint8))
        assert count == 1 + 4


def test_a_narrower_window_keeps_the_order_of_tones_and_loses_the_darkest() -> None:
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    options = UNCHANGED.model_copy(update={"window": 1.0})
    shown = [augment(ramp, options, np.random.default_rng(seed))[0] for seed in range(20)]
    assert all((np.diff(tones) >= 0).all() for tones in shown)
    assert all(tones[0] < 1e-6 and tones[-1] > 1 - 1e-6 for tones in shown)
    assert max(int((tones == 0).sum()) for tones in shown) > 64 // 5
    assert any(((tones > 0) & (tones < 1)).sum() > 60 for tones in shown)  # a sigmoid cuts nothing
