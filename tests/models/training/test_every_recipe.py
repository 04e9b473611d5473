"""The short form of ``python -m tests.campaigns.recipes``: each recipe takes two steps on noise."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from models.networks import (
    BackboneShape,
    BoneAgeNetwork,
    ClassNetwork,
    classifier,
    timm_backbone,
)
from models.training.losses import AgeLoss, ClassLoss
from models.training.optimisation import build_optimizer, build_schedule, freeze
from models.training.recipe import Recipe
from models.training.recipe_file import RECIPES, list_recipes, read_recipe

BATCH = 2
AGES = torch.tensor([60.0, 150.0])
SEXES = torch.tensor([[1.0], [0.0]])


@pytest.fixture(scope="module", autouse=True)
def shared_backbones() -> Iterator[None]:
    """Recipes with the same backbone share it: building one takes longer than two steps."""
    with pytest.MonkeyPatch.context() as patch:
        made = cache(timm_backbone.create_backbone)
        for module in (timm_backbone, classifier):
            patch.setattr(module, "create_backbone", made)
        yield


@cache
def pictures(channels: int, size: int) -> Tensor:
    return torch.rand(BATCH, channels, size, size, generator=torch.Generator().manual_seed(0))


def built(recipe: Recipe) -> BoneAgeNetwork | ClassNetwork:
    torch.manual_seed(recipe.seed)
    shape = BackboneShape(
        architecture=recipe.architecture, channels=recipe.channels, drop_path=recipe.drop_path
    )
    if recipe.task == "classes":
        return ClassNetwork(shape, classes=2, dropout=recipe.dropout)
    return BoneAgeNetwork(
        shape, recipe.head, age_mean_months=120, age_sd_months=40, dropout=recipe.dropout
    )


def loss_of(recipe: Recipe, network: BoneAgeNetwork | ClassNetwork) -> Tensor:
    image = pictures(recipe.channels, 96)  # Inception reads nothing smaller
    if isinstance(network, ClassNetwork):
        of_classes = ClassLoss(recipe.loss, weights=torch.ones(2))
        return of_classes.forward(network(image), torch.tensor([0, 1]))
    outputs = network.outputs(network.features(image), SEXES)
    return AgeLoss(recipe.loss, age_sd_months=40).forward(outputs, SEXES, AGES)


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_builds_its_network_and_learns_from_two_batches(name: str) -> None:
    recipe = read_recipe(name)
    network = built(recipe)
    network.requires_grad_(requires_grad=True)  # a recipe before may have frozen the backbone
    freeze(recipe, network.backbone)
    optimizer = build_optimizer(recipe, network)
    schedule = build_schedule(recipe, optimizer, steps=2)
    learning = [one for one in network.parameters() if one.requires_grad]
    before = [one.detach().clone() for one in learning]

    losses = []
    for _ in range(2):
        loss = loss_of(recipe, network)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()

    assert np.isfinite(losses).all()
    moved = [not torch.equal(old, new) for old, new in zip(before, learning, strict=True)]
    assert any(moved)
    assert (schedule is None) == (recipe.schedule.kind == "constant")


def test_every_recipe_says_in_a_line_what_it_is_and_in_its_head_where_it_comes_from() -> None:
    for name in list_recipes():
        text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
        assert text.startswith("# "), name
        assert 10 < len(read_recipe(name).summary) < 100, name
