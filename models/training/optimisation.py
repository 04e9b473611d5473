"""Optimiser, schedule, and the parts of a network that must not learn."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from models.networks.steps import executed_steps, steps_up_to
from models.training.recipe import WATCHED, Recipe
from models.training.recipe_file import RecipeError

#: a plateau that moves by less than this is none: torch's own eps is 1e-8
_LEAST_CHANGE = 1e-4


def build_optimizer(recipe: Recipe, network: nn.Module) -> Optimizer:
    """Return the optimiser of all that learns; biases and norms do not decay."""
    learning = [one for one in network.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in learning if one.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [one for one in learning if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.learning_rate)


def build_schedule(recipe: Recipe, optimizer: Optimizer, *, steps: int) -> dict[str, Any] | None:
    """Return the schedule as Lightning wants it; None for a constant rate.

    Args:
        recipe: the recipe.
        optimizer: of ``build_optimizer``.
        steps: optimiser steps of the whole run.
    """
    options = recipe.schedule
    if options.kind == "constant":
        return None
    if options.kind == "one_cycle":
        cycle = lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=recipe.learning_rate,
            total_steps=max(steps, 1),
            pct_start=recipe.warm_up,
        )
        return {"scheduler": cycle, "interval": "step"}
    if options.kind == "plateau":
        plateau = lr_scheduler.ReduceLROnPlateau(
            optimizer,
            mode="min",  # a metric that is to grow is logged with its sign turned
            factor=options.factor,
            patience=options.patience,
            cooldown=options.cooldown,
            min_lr=options.min_rate,
            threshold=_LEAST_CHANGE,
        )
        return {"scheduler": plateau, "interval": "epoch", "monitor": WATCHED}
    if options.kind == "cosine_restarts":
        restarts = lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, T_0=options.passes, eta_min=options.min_rate
        )
        return {"scheduler": restarts, "interval": "epoch"}
    step = lr_scheduler.StepLR(optimizer, step_size=options.passes, gamma=options.factor)
    return {"scheduler": step, "interval": "epoch"}


def freeze(recipe: Recipe, backbone: nn.Module) -> list[nn.Module]:
    """Stop the parts from learning that the recipe names, and return them.

    Whoever trains puts them into evaluation mode at each pass, so that the running statistics of
    their batch norms stay as they are, too.

    Raises:
        RecipeError: the backbone has no such module.
    """
    if not recipe.freeze:
        return []
    if recipe.freeze == "backbone":
        frozen = [backbone]
    else:
        names = executed_steps(backbone)
        try:
            chosen = steps_up_to(backbone, names, module=recipe.freeze)
        except ValueError as error:
            known = ", ".join(names)
            problem = f"freeze = {recipe.freeze!r} is no module of the backbone; it has {known}."
            raise RecipeError(problem=problem, recipe=recipe.name) from error
        frozen = [backbone.get_submodule(name) for name in chosen]
    for part in frozen:
        part.requires_grad_(requires_grad=False)
    return frozen
