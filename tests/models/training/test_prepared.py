from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.training.annotations import Annotation, TrainingDataError
from models.training.augmentation import Augmentation
from models.training.cohort import Cohort
from models.training.data import AGE_BINS, Radiographs, balanced_weights
from models.training.fourier import spectrum
from models.training.pictures import describe_dataset, draw_classes, draw_dataset
from models.training.prepared import Preparation, open_images, prepare_images, preprocessing_of
from models.training.recipe import Recipe
from models.training.recipe_file import RecipeError, build_recipe
from schemas.images import Sex
from schemas.releases import Framing, MemberPreprocessing, Scaling
from tests.models.builders import drawn_hand

SIZE = 48


def recipe(**changes: object) -> Recipe:
    table = {"name": "r", "architecture": "resnet10t", "stages": [{"passes": 1, "size": SIZE}]}
    return build_recipe(table | changes)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    for place, picture in (
        ("rsna/1.png", np.clip(drawn_hand(), 0, 255).astype(np.uint8)),
        ("masks/1.png", np.pad(np.full((120, 100), 255, np.uint8), ((60, 60), (50, 50)))),
    ):
        (tmp_path / place).parent.mkdir()
        cv2.imwrite(str(tmp_path / place), picture)
    return Cohort(data=tmp_path, masks=(tmp_path / "masks",))


HAND = Annotation(image_id="1.png", folder="rsna", patient_id="1", sex=Sex.MALE, age_months=100)


def member_rule(**changes: object) -> MemberPreprocessing:
    values = {"framing": Framing.PAD, "scaling": Scaling.UNIT}
    return MemberPreprocessing.model_validate(values | changes)


def unit_of(
    cohort: Cohort, rule: MemberPreprocessing | None
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    stored = cohort.open_archive().read(folder="rsna", image_id="1.png")
    return Preparation(cohort=cohort, member_rule=rule).unit(stored, "1.png", size=SIZE)


@pytest.mark.parametrize("kept", ["disk", "memory", "none"])
@pytest.mark.parametrize("rule", [None, member_rule()], ids=["ours", "member"])
def test_a_picture_is_the_same_wherever_it_is_kept(
    cohort: Cohort, tmp_path: Path, kept: str, rule: MemberPreprocessing | None
) -> None:
    images = open_images(
        Preparation(cohort=cohort, member_rule=rule),
        [HAND],
        size=SIZE,
        cache=tmp_path / "cache",
        kept=kept,  # type: ignore[arg-type]  # of the parameters above
    )

    # half precision, or whole grey levels
    assert np.abs(images.read(0) - unit_of(cohort, rule)).max() <= 0.5 / 255 + 1e-6


def test_another_rule_is_kept_in_another_file(cohort: Cohort, tmp_path: Path) -> None:
    for rule in (None, member_rule(), member_rule(clahe_clip=3.0)):
        prepare_images(
            Preparation(cohort=cohort, member_rule=rule), [HAND], size=SIZE, cache=tmp_path / "c"
        )

    assert len(list((tmp_path / "c").glob("*.npy"))) == 3
    assert not list((tmp_path / "c").glob("*.part"))


def test_padding_keeps_the_aspect_that_squashing_loses(cohort: Cohort) -> None:
    padded = unit_of(cohort, member_rule())
    squashed = unit_of(cohort, member_rule(framing=Framing.SQUASH))

    assert padded[:, :2].max() == 0
    assert squashed[:, :2].max() > 0


def test_a_mask_hides_what_is_not_the_hand(cohort: Cohort) -> None:
    masked = unit_of(cohort, member_rule(use_mask=True))
    cropped = unit_of(cohort, member_rule(use_mask=True, mask_crop=1.0))

    assert masked[: SIZE // 5].max() == 0
    assert (cropped > 0).mean() > (masked > 0).mean()


def test_the_header_range_leaves_a_dark_image_dark(cohort: Cohort) -> None:
    stored = np.linspace(0, 13000, 400).reshape(20, 20).astype(np.uint16)
    how = Preparation(cohort=cohort, member_rule=member_rule())
    by_header = Preparation(cohort=cohort, member_rule=member_rule(), header_range=True)

    assert how.unit(stored, "1.png", size=SIZE).max() == pytest.approx(1, abs=0.05)
    assert by_header.unit(stored, "1.png", size=SIZE).max() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("scaling", "low", "high"),
    [("unit", 0, 1), ("min_max", 0, 1), ("imagenet", -1.99, 2.44), ("grey_levels", 0, 255)],
)
def test_a_scaling_has_its_range(cohort: Cohort, scaling: str, low: float, high: float) -> None:
    how = Preparation(cohort=cohort, member_rule=member_rule(scaling=scaling))
    unit = np.linspace(0, 1, SIZE**2, dtype=np.float32).reshape(SIZE, SIZE)

    values = how.to_input(unit)

    assert tuple(values.shape) == (1, SIZE, SIZE)
    assert float(values.min()) == pytest.approx(low, abs=0.01)
    assert float(values.max()) == pytest.approx(high, abs=0.01)


@pytest.mark.parametrize(("kind", "channels"), [("magnitude", 1), ("parts", 3)])
def test_a_spectrum_has_its_channels(cohort: Cohort, kind: str, channels: int) -> None:
    asked = recipe(images={"fourier": kind})

    values = Preparation.of(asked, cohort).to_input(unit_of(cohort, None))

    assert tuple(values.shape) == (channels, SIZE, SIZE)
    assert asked.channels == channels
    assert float(values.abs().max()) <= 5


def test_a_spectrum_tells_waves_from_one_another() -> None:
    rows = np.arange(SIZE)
    slow, fast = (np.tile(np.sin(2 * np.pi * waves * rows / SIZE), (SIZE, 1)) for waves in (2, 9))

    magnitudes = [spectrum(one.astype(np.float32), kind="magnitude")[0] for one in (slow, fast)]

    middle = SIZE // 2
    peaks = [int(np.argmax(one[middle, middle:])) for one in magnitudes]
    assert peaks == [2, 9]


def test_a_reference_image_brings_its_histogram_into_the_rule(cohort: Cohort) -> None:
    asked = recipe(
        images={"reference_image": str(cohort.data / "rsna" / "1.png")},
        preprocessing={"framing": "pad", "scaling": "z_score"},
    )

    rule = preprocessing_of(asked)

    assert rule is not None
    assert rule.reference_histogram is not None
    assert sum(rule.reference_histogram) > 0


#: changes nothing but where the square is cut
CUT_ALONE = Augmentation(random_crop=True, placed=0, gamma=0, intensity=0, frame=0)


def test_a_training_square_is_cut_at_any_place_of_the_longer_side_and_the_same_one_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "rsna").mkdir()
    ramp = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[:, None], 40, axis=1)  # 120 by 40
    cv2.imwrite(str(tmp_path / "rsna" / "1.png"), ramp)
    rule = member_rule(framing=Framing.CENTRE)
    how = Preparation(cohort=Cohort(data=tmp_path), member_rule=rule)
    images = open_images(how, [HAND] * 50, size=40, cache=tmp_path, kept="none")
    looks = [
        Radiographs(images, [HAND] * 50, how=how, augmentation=options, seed=(1, 0))
        for options in (CUT_ALONE, CUT_ALONE, None)
    ]

    tops, again, middle = (
        [round(float(look[index][0][0, 0, 0]) * 255 / 2) for index in range(50)] for look in looks
    )

    assert tops == again
    assert set(middle) == {40}  # the rows from a third on
    assert min(tops) < 10
    assert max(tops) > 70  # of 80, the last place there is


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"images": {"cache": "none"}}, 'framing = "centre"'),
        ({"preprocessing": {"framing": "centre", "scaling": "unit"}}, 'images.cache = "none"'),
    ],
)
def test_a_recipe_that_cannot_cut_at_random_is_refused(
    changes: dict[str, object], wanted: str
) -> None:
    with pytest.raises(RecipeError, match=wanted):
        recipe(augmentation={"random_crop": True}, **changes)


def test_balanced_weights_give_each_age_bin_the_same_share() -> None:
    ages = [10.0] * 5 + [100.0] * 50 + [200.0] * 20

    weights = balanced_weights(ages)

    sums = [
        sum(w for w, age in zip(weights, ages, strict=True) if age == one) for one in (10, 100, 200)
    ]
    assert sums == pytest.approx([1, 1, 1])
    assert len(AGE_BINS) == 4


def test_every_picture_that_cannot_be_used_is_named_and_none_is_kept(
    cohort: Cohort, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "rsna" / "2.png"), np.full((240, 200), 7, np.uint8))
    (tmp_path / "rsna" / "3.png").write_bytes((tmp_path / "rsna" / "1.png").read_bytes()[:60])
    images = [replace(HAND, image_id=f"{number}.png") for number in (1, 2, 3)]

    with pytest.raises(TrainingDataError) as raised:
        prepare_images(Preparation(cohort=cohort), images, size=SIZE, cache=tmp_path / "cache")

    flat, broken = raised.value.problems
    assert flat.startswith("almost uniform (")
    assert flat.endswith("rsna/2.png")
    assert broken == f"no picture, or cut off: {tmp_path / 'rsna' / '3.png'}"
    assert not list((tmp_path / "cache").iterdir())


def test_a_data_set_is_drawn(cohort: Cohort, tmp_path: Path) -> None:
    paths = draw_dataset([HAND], cohort.open_archive(), tmp_path / "pictures")

    assert [path.name for path in paths] == ["ages.png", "sexes.png", "sizes.png", "samples.png"]
    assert all(cv2.imread(str(path)) is not None for path in paths)


def test_the_figures_of_a_data_set_are_those_of_a_pencil(cohort: Cohort) -> None:
    figures = describe_dataset([HAND], cohort.open_archive())

    picture = cohort.open_archive().read(folder=HAND.folder, image_id=HAND.image_id)
    assert (figures["images"], figures["all, mean age"]) == (1, HAND.age_months)
    assert (figures["median rows"], figures["most columns"]) == picture.shape
    assert figures["mean grey"] == pytest.approx(picture.mean() / 255, abs=1e-3)


def test_pictures_in_folders_of_classes_are_drawn_and_counted(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 2)):
        for label in ("NORMAL", "PNEUMONIA"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(tmp_path / part / label / f"{number}.png"), np.full((9, 7), 51.0))

    paths, figures = draw_classes(tmp_path, tmp_path / "pictures")

    assert [path.name for path in paths] == ["classes.png", "sizes.png", "samples.png"]
    assert all(cv2.imread(str(path)) is not None for path in paths)
    assert (figures["train, NORMAL"], figures["val, PNEUMONIA"]) == (3, 2)
    assert (figures["median rows"], figures["mean grey"]) == (9, 0.2)
