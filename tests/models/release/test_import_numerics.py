"""An imported release says what the original would: same picture, same months, to 1e-3."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.ensemble import Ensemble, load_estimator
from models.phantom import draw_phantom
from models.release.importing.build import NewRelease, import_release
from models.release.importing.converted import ImportOptions
from schemas.estimates import HandImage
from schemas.images import Sex
from tests.models.builders import drawn_hand
from tests.models.release import foreign_checkpoints as theirs
from tests.models.release import foreign_forwards as forwards

pytestmark = pytest.mark.slow
MONTHS = 1e-3
MEAN, SD = 127.31657409667969, 41.17934799194336
SEXES = (Sex.FEMALE, Sex.MALE)
BOTH = torch.tensor([[0.0], [1.0]])


@pytest.fixture
def hand() -> NDArray[np.uint8]:
    """An 8-bit picture, as those that these networks were trained on."""
    return drawn_hand(300, 240).astype(np.uint8)


def imported(
    folder: Path, checkpoint: object, *others: tuple[str, object], **options: object
) -> Ensemble:
    """A release of one member, and what stands beside it, loaded from disk."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, content in (("member.ckpt", checkpoint), *others):
        torch.save(content, folder / name)
        paths.append(folder / name)
    done = import_release(
        paths,
        new=NewRelease(name="theirs"),
        options=ImportOptions(**options),  # type: ignore[arg-type]
        into=folder / "releases",
    )
    return load_estimator(done.folder)


def said(ensemble: Ensemble, hand: NDArray[np.uint8]) -> list[float]:
    """Months for a girl and a boy."""
    image = HandImage(pixels=hand.astype(np.float32), sexes=SEXES)
    return [one.age_months for one in ensemble.estimate([image])]


def z_scored(grey: NDArray[np.uint8], size: int) -> Tensor:
    """Deeplasia's way: less the 1st percentile, central square, bilinear, z-score."""
    level = np.percentile(grey[grey > 0], 1)
    less = np.clip(grey.astype(np.float64) - level, 0, 255).round().astype(np.uint8)
    rows, columns = less.shape
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    square = less[top : top + side, left : left + side]
    values = cv2.resize(square, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float64)
    return torch.tensor((values - values.mean()) / values.std(), dtype=torch.float32)[None, None]


def settled(state: theirs.State, x: Tensor, prefix: str, variant: str) -> theirs.State:
    """The state with batch norms that have seen the picture, so that the picture matters."""
    return forwards.settle(state, lambda: forwards.efficientnet(x, state, prefix, variant))


def months(z: Tensor, *, slope: float = 0.0, intercept: float = 0.0) -> list[float]:
    age = z.double() * SD + MEAN
    return (age - (slope * age + intercept)).tolist()


def test_a_legacy_efficientnet_b0_says_the_same(tmp_path: Path, hand: NDArray[np.uint8]) -> None:
    x = z_scored(hand, 128)
    state = settled(theirs.legacy_efficientnet("b0"), x, "base.", "b0")
    assert len(state) == 366  # as measured on the published models with one dense layer

    ensemble = imported(tmp_path, {"state_dict": state}, input_size=128)

    with torch.no_grad():
        features = forwards.efficientnet(x, state, "base.", "b0").repeat(2, 1, 1, 1)
        z = forwards.legacy_z_score(features, BOTH, state, dense=1)
    assert said(ensemble, hand) == pytest.approx(months(z), abs=MONTHS)


def test_a_legacy_efficientnet_b4_keeps_the_padding_of_its_native_size(
    tmp_path: Path, hand: NDArray[np.uint8]
) -> None:
    # at 128 pixels as at 512, block 6 alone is padded otherwise
    x = z_scored(hand, 128)
    state = settled(theirs.legacy_efficientnet("b4", dense=(32, 24)), x, "base.", "b4")

    ensemble = imported(tmp_path, {"state_dict": state}, input_size=128)

    with torch.no_grad():
        fixed = forwards.efficientnet(x, state, "base.", "b4").repeat(2, 1, 1, 1)
        moving = forwards.efficientnet(x, state, "base.", "b4", is_dynamic=True)
        right = months(forwards.legacy_z_score(fixed, BOTH, state, dense=2))
        wrong = months(forwards.legacy_z_score(moving, BOTH[:1], state, dense=2))
    assert said(ensemble, hand) == pytest.approx(right, abs=MONTHS)
    assert abs(wrong[0] - right[0]) > 10 * MONTHS  # so this test would notice


@pytest.mark.parametrize(("unit", "intercept"), [("z", 0.0235), ("months", -3.8066)])
def test_a_new_layout_says_the_same_with_its_correction_in_either_unit(
    tmp_path: Path, hand: NDArray[np.uint8], unit: str, intercept: float
) -> None:
    slope, x = 0.0375, z_scored(hand, 96)
    state = settled(theirs.new_efficientnet("b0"), x, "backbone.base.", "b0")
    checkpoint = {
        "state_dict": state,
        "hyper_parameters": {"input_size": [1, 96, 96], "age_sigma": 1.0},
        "age_mean": np.float64(MEAN),
        "age_std": np.float64(SD),
        "slope": np.float64(slope),
        "bias": np.float64(intercept),
    }

    ensemble = imported(tmp_path, checkpoint)

    with torch.no_grad():
        x = forwards.efficientnet(x, state, "backbone.base.", "b0")
        z = forwards.new_z_score(x.repeat(2, 1, 1, 1), BOTH, state)
    if unit == "z":
        expected = months(z - (slope * z + intercept))
    else:
        expected = months(z, slope=slope, intercept=intercept)
    assert said(ensemble, hand) == pytest.approx(expected, abs=MONTHS)


def test_a_network_trained_on_its_own_guess_of_the_sex_is_fed_that_guess(
    tmp_path: Path, hand: NDArray[np.uint8]
) -> None:
    x = z_scored(hand, 96)
    state = settled(theirs.new_efficientnet("b0", sex_classifier=(12,)), x, "backbone.base.", "b0")
    checkpoint = {"state_dict": state, "hyper_parameters": {"correct_predicted_sex": False}}

    ensemble = imported(tmp_path, checkpoint, input_size=96)

    with torch.no_grad():
        x = forwards.efficientnet(x, state, "backbone.base.", "b0")
        z = forwards.new_z_score(x, forwards.explicit_sex_logit(x, state), state)
    assert said(ensemble, hand) == pytest.approx(months(z) * 2, abs=MONTHS)


def test_a_network_without_sex_says_one_age(tmp_path: Path, hand: NDArray[np.uint8]) -> None:
    x = z_scored(hand, 96)
    state = settled(theirs.new_efficientnet("b0", sex_features=0), x, "backbone.base.", "b0")

    ensemble = imported(tmp_path, {"state_dict": state}, input_size=96)

    with torch.no_grad():
        x = forwards.efficientnet(x, state, "backbone.base.", "b0")
        z = forwards.new_z_score(x, BOTH[:1], state)
    assert said(ensemble, hand) == pytest.approx(months(z) * 2, abs=MONTHS)


def test_a_legacy_inception_says_the_same(tmp_path: Path, hand: NDArray[np.uint8]) -> None:
    x = z_scored(hand, 128)
    state = theirs.legacy_inception()
    forwards.settle(state, lambda: forwards.inception(x, state))

    ensemble = imported(tmp_path, {"state_dict": state}, input_size=128)

    with torch.no_grad():
        features = forwards.inception(x, state).repeat(2, 1, 1, 1)
        z = forwards.inception_z_score(features, BOTH, state)
    assert said(ensemble, hand) == pytest.approx(months(z), abs=MONTHS)


def test_the_hand_that_the_mask_network_finds_is_cut_out(
    tmp_path: Path, hand: NDArray[np.uint8]
) -> None:
    mask_state = theirs.mask_network()
    forwards.settle(mask_state, lambda: forwards.mask_probability(mask_input(hand), mask_state))
    found = masked(hand, mask_state)
    x = cropped(hand, found, size=96)
    state = settled(theirs.legacy_efficientnet("b0"), x, "base.", "b0")

    ensemble = imported(
        tmp_path, {"state_dict": state}, ("mask.ckpt", {"state_dict": mask_state}), input_size=96
    )

    with torch.no_grad():
        features = forwards.efficientnet(x, state, "base.", "b0").repeat(2, 1, 1, 1)
        z = forwards.legacy_z_score(features, BOTH, state, dense=1)
    assert 0 < found.sum() < found.size
    assert said(ensemble, hand) == pytest.approx(months(z), abs=MONTHS)


def cropped(grey: NDArray[np.uint8], found: NDArray[np.bool_], *, size: int) -> Tensor:
    """The hand in a square of 1.15 times its longer side, z-scored."""
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    side = round(max(height, width) * 1.15)
    seen = np.where(found, grey, 0).astype(np.float64)
    less = np.clip(seen - np.percentile(seen[seen > 0], 1), 0, 255).round().astype(np.uint8)
    wide = np.pad(less, side)  # so that the square never leaves the picture
    top = rows[0] + side - (side - height) // 2
    left = columns[0] + side - (side - width) // 2
    square = wide[top : top + side, left : left + side]
    values = cv2.resize(square, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float64)
    return torch.tensor((values - values.mean()) / values.std(), dtype=torch.float32)[None, None]


def mask_input(grey: NDArray[np.uint8]) -> Tensor:
    """The picture in the middle of a black square, at 512 pixels, from 0 to 1."""
    rows, columns = grey.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    square = np.zeros((side, side), dtype=np.uint8)
    square[top : top + rows, left : left + columns] = grey
    small = cv2.resize(square, (512, 512), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return torch.tensor((small - small.min()) / np.ptp(small))[None, None]


def masked(grey: NDArray[np.uint8], state: theirs.State) -> NDArray[np.bool_]:
    """Where the mask network's answer has a hand, by the service's description."""
    rows, columns = grey.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    with torch.no_grad():
        answer = forwards.mask_probability(mask_input(grey), state)[0].numpy()
    back = cv2.resize(answer, (side, side))[top : top + rows, left : left + columns]
    outlines, _ = cv2.findContours(
        (back > 0.25).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    regions = []
    for outline in sorted(outlines, key=cv2.contourArea, reverse=True):
        region = cv2.drawContours(np.zeros(back.shape, np.uint8), [outline], -1, 1, cv2.FILLED)
        regions.append(np.asarray(region, dtype=np.bool_))
    sure = [region for region in regions if back[region].max() > 0.99]
    return (sure or regions)[0]


def cleared(grey: NDArray[np.uint8]) -> Tensor:
    """A picture as boneAge_predict is given it: mean taken off, CLAHE, padded, 160 pixels."""
    less = np.clip(grey.astype(np.float64) - grey.mean(), 0, 255).round().astype(np.uint8)
    clear = cv2.createCLAHE(clipLimit=15, tileGridSize=(8, 8)).apply(less)
    side = (grey.shape[0] - grey.shape[1]) // 2
    square = cv2.copyMakeBorder(clear, 0, 0, side, side, cv2.BORDER_CONSTANT, value=0)
    x = torch.tensor(square, dtype=torch.float32)[None, None]
    return functional.interpolate(x, size=(160, 160), mode="bilinear", antialias=True)


def phantom_in_grey() -> NDArray[np.uint8]:
    drawn = draw_phantom(age_months=120, sex=Sex.FEMALE).astype(np.float64)
    return np.asarray((drawn - drawn.min()) / np.ptp(drawn) * 255).round().astype(np.uint8)


#: of five crops of 150 of 160 pixels, which is 470 of 500
FIVE_CORNERS = ((0, 0), (0, 10), (10, 0), (10, 10), (5, 5))


@pytest.mark.parametrize("pool", [1, 2])
def test_boneage_predict_says_the_same(tmp_path: Path, hand: NDArray[np.uint8], pool: int) -> None:
    x = cleared(hand).repeat(2, 1, 1, 1)
    state = theirs.boneage_predict(pool=pool)
    # an import is asked once on the phantom: untrained weights must know that picture, too
    seen = torch.cat([x, cleared(phantom_in_grey())])
    sexes = torch.cat([BOTH, BOTH[:1]])
    forwards.settle(state, lambda: forwards.boneage_predict(seen, sexes, state, pool=pool))
    checkpoint = {"epoch": 5, "model_state_dict": state, "loss": 6.1, "val_loss": 7.2}

    ensemble = imported(tmp_path, checkpoint, input_size=160, has_test_views=False)
    as_tested = imported(tmp_path / "tested", checkpoint, input_size=160)

    crops = (x[..., top : top + 150, left : left + 150] for top, left in FIVE_CORNERS)
    with torch.no_grad():
        expected = forwards.boneage_predict(x, BOTH, state, pool=pool)
        views = [forwards.boneage_predict(one, BOTH, state, pool=pool) for one in crops]
    assert said(ensemble, hand) == pytest.approx(expected.tolist(), abs=MONTHS)
    mean = torch.stack(views).mean(0)
    assert said(as_tested, hand) == pytest.approx(mean.tolist(), abs=MONTHS)


def test_three_convnexts_say_the_same_and_are_averaged(
    tmp_path: Path, hand: NDArray[np.uint8]
) -> None:
    state = theirs.bone_age_convnext()

    ensemble = imported(tmp_path, state, input_size=128)

    fitted = cv2.resize(hand, (102, 128), interpolation=cv2.INTER_LINEAR)
    padded = cv2.copyMakeBorder(fitted, 0, 0, 13, 13, cv2.BORDER_CONSTANT, value=0)
    x = torch.tensor(padded, dtype=torch.float32)[None, None].repeat(2, 1, 1, 1)
    with torch.no_grad():
        members = [
            forwards.bone_age_convnext(x, 1 - BOTH, state, f"net{index}.") for index in range(3)
        ]
    assert said(ensemble, hand) == pytest.approx(sum(members).div(3).tolist(), abs=MONTHS)  # type: ignore[union-attr]
    assert abs(members[0][0] - members[0][1]) > MONTHS  # the sex matters


def test_the_heatmap_of_an_import_adds_up_to_its_estimate(
    tmp_path: Path, hand: NDArray[np.uint8]
) -> None:
    ensemble = imported(tmp_path, {"state_dict": theirs.legacy_efficientnet("b0")}, input_size=96)

    image = HandImage(pixels=hand.astype(np.float32), sexes=(Sex.MALE,))
    (reading,) = ensemble.read([image])

    total = reading.heatmap.months.sum(dtype=np.float64) + reading.heatmap.intercept_months
    assert total == pytest.approx(reading.estimates[0].age_months, abs=0.01)
