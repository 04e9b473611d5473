"""Training: images a second of the default recipe, beside the bare loop on tensors in memory.

The recipe's first stage with its augmentation, loss, optimiser and precision on real radiographs
(``BONEAGE_TEST_DATA``); the limit is the same network forwards and backwards over batches that are
ready. Validation and writing are not counted on either side.
"""

import statistics
import tempfile
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning
import torch
from torch import Tensor

from models.training.cohort import Cohort
from models.training.places import default_data
from models.training.recipe import Recipe
from models.training.recipe_file import read_recipe
from models.training.train import PlannedRun, plan_run
from tests.benchmarks.figures import Aim, Figure

RECIPE = "lite0"
STEPS = 16
WARM_UP = 4


class _Laps(lightning.Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:  # noqa: ANN401 - Lightning's own
        self.at.append(perf_counter())


def measure(*, runs: int) -> list[Figure]:
    """Return images a second; medians over ``runs`` times 12 steps. Nothing without the data."""
    if not default_data().exists():
        return []
    recipe = _recipe()
    with tempfile.TemporaryDirectory() as folder:
        planned = plan_run(
            recipe,
            cohort=Cohort(data=default_data()),
            cache=Path(folder),
            progress=lambda *_: None,
        )
        planned.module.prepare_data()
        trained, bare = [], []
        for _ in range(runs):  # in turn: what else the machine does meets both alike
            trained += _trained(planned, recipe.precision)
            bare += _bare(planned)
    ours, limit = statistics.median(trained), statistics.median(bare)
    return [
        Figure(
            name=f"recipe {RECIPE}, {recipe.size_at(0)} pixels",
            value=recipe.batch_size / ours,
            unit="images/s",
            peer="bare loop on tensors in memory",
            peer_value=recipe.batch_size / limit,
            aim=Aim(at_least=0.85),
        )
    ]


def _recipe() -> Recipe:
    """Return the first stage of the recipe, on as many images as the steps take."""
    whole = read_recipe(RECIPE, ())
    return read_recipe(
        RECIPE,
        (
            f"images.children={STEPS * whole.batch_size}",
            f"stages=[{{passes=1, size={whole.size_at(0)}}}]",
        ),
    )


def _trained(planned: PlannedRun, precision: Any) -> list[float]:  # noqa: ANN401 - Lightning's own
    laps = _Laps()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=STEPS,
        limit_val_batches=0,
        precision=precision,
        gradient_clip_val=planned.training.recipe.clip_gradient or None,
        callbacks=[laps],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(planned.training, planned.module)
    return [after - before for before, after in zip(laps.at, laps.at[1:], strict=False)][WARM_UP:]


def _bare(planned: PlannedRun) -> list[float]:
    training = planned.training
    batches = list(islice(planned.module.train_dataloader(), 4))
    optimizer = torch.optim.AdamW(training.network.parameters(), lr=1e-4)
    training.train()
    seconds = []
    for batch in islice(cycle(batches), STEPS):
        began = perf_counter()
        image, sex, age = batch
        with torch.autocast("cpu", torch.bfloat16):
            months: Tensor = training.network(
                image.contiguous(memory_format=torch.channels_last), sex
            )
        loss = (months.float() - age).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(training.network.parameters(), 5.0)
        optimizer.step()
        seconds.append(perf_counter() - began)
    return seconds[WARM_UP:]
