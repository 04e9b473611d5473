import pytest
import torch
from torch import nn

from models.networks import build_network
from models.training.optimisation import build_optimizer, build_schedule, freeze
from models.training.recipe import Recipe
from models.training.recipe_file import RecipeError, build_recipe
from tests.models.builders import small_network


def recipe(**changes: object) -> Recipe:
    table = {"name": "r", "architecture": "resnet10t", "stages": [{"passes": 2, "size": 64}]}
    return build_recipe(table | changes)


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_the_optimiser_is_that_of_the_recipe(name: str, kind: str) -> None:
    optimizer = build_optimizer(recipe(optimizer=name), nn.Linear(2, 2))

    assert type(optimizer).__name__ == kind


def test_biases_do_not_decay() -> None:
    decayed, plain = build_optimizer(recipe(weight_decay=0.3), nn.Linear(2, 2)).param_groups

    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert [one.ndim for one in plain["params"]] == [1]


def rates(kind: str, *, passes: int) -> list[float]:
    asked = recipe(learning_rate=1.0, schedule={"kind": kind, "passes": 2, "factor": 0.1})
    optimizer = build_optimizer(asked, nn.Linear(2, 2))
    built = build_schedule(asked, optimizer, steps=passes)
    assert built is not None
    seen = []
    for _ in range(passes):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        built["scheduler"].step()
    return seen


def test_a_step_schedule_falls_every_few_passes() -> None:
    assert rates("step", passes=5) == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_restarts_begin_anew() -> None:
    first, second, third, fourth = rates("cosine_restarts", passes=4)

    assert [first, third] == pytest.approx([1, 1])
    assert second < first
    assert fourth < third


def test_one_cycle_rises_then_falls() -> None:
    seen = rates("one_cycle", passes=20)

    assert seen[0] < max(seen) > seen[-1]


def test_a_plateau_watches_the_watched_metric() -> None:
    asked = recipe(schedule={"kind": "plateau"})
    built = build_schedule(asked, build_optimizer(asked, nn.Linear(2, 2)), steps=10)

    assert built is not None
    assert built["monitor"] == "watched"


def test_a_frozen_backbone_keeps_weights_and_statistics() -> None:
    network = small_network().train()
    for part in freeze(recipe(freeze="backbone"), network.backbone):
        part.eval()
    before = {name: one.clone() for name, one in network.backbone.state_dict().items()}
    optimizer = build_optimizer(recipe(), network)

    network(torch.rand(4, 1, 64, 64), torch.ones(4, 1)).sum().backward()
    optimizer.step()

    assert all(
        torch.equal(one, before[name]) for name, one in network.backbone.state_dict().items()
    )
    assert any(one.grad is not None for one in network.regressor.parameters())


def test_a_network_may_be_frozen_up_to_a_module() -> None:
    network = small_network()

    freeze(recipe(freeze="layer3"), network.backbone)

    learning = {
        name.split(".")[0] for name, one in network.backbone.named_parameters() if one.requires_grad
    }
    assert learning == {"layer4"}


def test_a_part_of_a_stage_may_be_frozen() -> None:
    network = build_network("resnet18", age_mean_months=120, age_sd_months=40)

    freeze(recipe(freeze="layer4.0"), network.backbone)

    learning = {name for name, one in network.backbone.named_parameters() if one.requires_grad}
    assert learning
    assert all(name.startswith("layer4.1.") for name in learning)


def test_a_module_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(RecipeError, match=r"layer9.*layer1"):
        freeze(recipe(freeze="layer9"), small_network().backbone)
