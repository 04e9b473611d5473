import numpy as np

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
