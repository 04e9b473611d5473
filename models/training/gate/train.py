"""Train the gate: ``python -m models.training.gate.train`` writes ``runs/gate``.

Two pools of examples are made once (``models.training.gate.pool``): one to learn from, one of
children and pictures that are kept out of it. The bounds (``models.training.gate.bounds``) are
chosen on hands that are kept out. ``--start FOLDER`` goes on from a gate that was trained before.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from models.gate.network import KINDS, GateNetwork, Kind, Sighting
from models.gate.trained import look
from models.training.cohort import Cohort
from models.training.gate.bounds import set_bounds
from models.training.gate.pool import Plan, Pool, make_pool
from models.training.places import default_data
from models.training.split import Part

WEIGHTS_FILE = "gate.safetensors"
RECORD_FILE = "gate.json"
LEARNING_RATE = 3e-3
#: where training goes on from an earlier gate
LATER_LEARNING_RATE = 1.5e-3
BATCH = 64
SEED = 1
#: held-out examples that the record says something about
DESCRIBED = 800

Batch = list[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecipe:
    """How the gate is trained."""

    width: int = 16
    size: int = 112  #: pixels
    early_size: int = 80  #: pixels, in all passes but the last; not after an earlier gate
    examples: int = 24_000
    held_out: int = 2_500
    passes: int = 5
    threads: int = 1
    workers: int = 2  #: processes that make the examples
    seed: int = SEED
    start: Path | None = None  #: folder of an earlier gate of this width and size

    @property
    def learning_rate(self) -> float:
        """The highest of the schedule."""
        return LATER_LEARNING_RATE if self.start else LEARNING_RATE

    def is_early(self, number: int) -> bool:
        """Return whether a pass, counted from 0, sees smaller pictures."""
        return self.start is None and number < self.passes - 1


class GateTraining(lightning.LightningModule):
    """Cross-entropy of what is shown, how it lies, and whether it is inverted."""

    def __init__(self, network: GateNetwork, recipe: GateRecipe) -> None:
        super().__init__()
        self.network = network
        self._recipe = recipe

    def _mirrored(self, batch: Batch) -> Batch:
        """Mirror every other view: a quarter turn one way becomes one the other way."""
        view, kind, turn, inverted = batch
        view = torch.cat([view[::2].flip(-1), view[1::2]])
        flipped = torch.where(turn[::2] > 0, (4 - turn[::2]) % 4, turn[::2])
        return [
            view,
            torch.cat([kind[::2], kind[1::2]]),
            torch.cat([flipped, turn[1::2]]),
            torch.cat([inverted[::2], inverted[1::2]]),
        ]

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Return the sum of the three losses."""
        view, kind, turn, inverted = self._mirrored(batch)
        view = view.float() / 255 - 0.5
        if self._recipe.is_early(self.current_epoch):
            view = functional.interpolate(view, size=self._recipe.early_size, mode="area")
        seen: Sighting = self.network(view)
        told = inverted >= 0
        loss = (
            functional.cross_entropy(seen.kinds, kind, label_smoothing=0.01)
            + 0.5 * functional.cross_entropy(seen.turns, turn, ignore_index=-1)
            + 0.5
            * functional.binary_cross_entropy_with_logits(
                seen.inverted[told], inverted[told].float()
            )
        )
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own union is not exported
        """Return AdamW with a one-cycle schedule."""
        rate = self._recipe.learning_rate
        optimizer = torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=rate,
            total_steps=self._recipe.passes * (self._recipe.examples // BATCH),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _tensors(pool: Pool) -> TensorDataset:
    return TensorDataset(
        torch.from_numpy(pool.views).unsqueeze(1),
        *(torch.from_numpy(one) for one in (pool.kinds, pool.turns, pool.inverted)),
    )


def describe(network: GateNetwork, pool: Pool, *, least: float) -> dict[str, float]:
    """Return the share of each kind of examples that is refused.

    Args:
        network: trained, in evaluation mode.
        pool: examples that were kept out.
        least: probability of one whole hand below which a picture is refused.
    """
    some = range(min(DESCRIBED, len(pool.views)))
    found = np.array(
        [look(network, pool.views[index] / np.float32(255)).kinds[Kind.HAND] for index in some]
    )
    kinds = pool.kinds[: len(some)]
    return {
        kind.value: round(float(np.mean(found[kinds == index] < least)), 4)
        for index, kind in enumerate(KINDS)
        if np.any(kinds == index)
    }


def _start(recipe: GateRecipe) -> tuple[GateNetwork, int]:
    """Return the network that training begins with, and how many examples it has seen before."""
    network = GateNetwork(width=recipe.width).to(memory_format=torch.channels_last)
    if recipe.start is None:
        return network, 0
    network.load_state_dict(load_file(recipe.start / WEIGHTS_FILE))
    before = json.loads((recipe.start / RECORD_FILE).read_text(encoding="utf-8"))
    return network, int(before["examples"])


def _fit(network: GateNetwork, pool: Pool, recipe: GateRecipe, *, progress: bool) -> None:
    """Train the network in place, and leave it in evaluation mode."""
    trainer = lightning.Trainer(
        max_epochs=recipe.passes,
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
    )
    loader: DataLoader[Any] = DataLoader(
        _tensors(pool), batch_size=BATCH, shuffle=True, drop_last=True
    )
    trainer.fit(GateTraining(network, recipe), loader)
    network.float().eval()


def train_gate(
    *,
    cohort: Cohort,
    runs: Path,
    recipe: GateRecipe = GateRecipe(),
    progress: bool = True,
) -> Path:
    """Train the gate and return its folder, with weights and record.

    Raises:
        NoTrainingDataError: the data are not there.
    """
    torch.set_num_threads(recipe.threads)
    lightning.seed_everything(recipe.seed, verbose=False)
    hands = tuple(cohort.select(Part.TRAIN))
    plan = Plan(
        cohort=cohort, hands=hands, cache=runs / "cache", size=recipe.size, seed=recipe.seed
    )
    kept = replace(plan, seed=recipe.seed + 1, held_out=True)
    network, before = _start(recipe)
    pool = make_pool(plan, count=recipe.examples, workers=recipe.workers)
    judged = make_pool(kept, count=recipe.held_out, workers=recipe.workers)
    _fit(network, pool, recipe, progress=progress)
    least = set_bounds(network, kept)
    folder = runs / "gate"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)
    record = {
        "width": recipe.width,
        "input_size": recipe.size,
        "examples": before + recipe.examples,
        "passes": recipe.passes,
        "split_sha256": cohort.split_sha256,
        "least_hand": least,
        "made_up_held_out_refused": describe(network, judged, least=least),
    }
    text = json.dumps(record, indent=1)
    (folder / RECORD_FILE).write_text(text + "\n", encoding="utf-8")
    return folder


def main() -> None:
    """Train the gate."""
    usual = GateRecipe()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--examples", type=int, default=usual.examples)
    parser.add_argument("--held-out", type=int, default=usual.held_out)
    parser.add_argument("--passes", type=int, default=usual.passes)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--start", type=Path, help="folder of an earlier gate to go on from")
    parser.add_argument("--no-progress", action="store_true")
    given = parser.parse_args()
    recipe = GateRecipe(
        examples=given.examples,
        held_out=given.held_out,
        passes=given.passes,
        seed=given.seed,
        start=given.start,
    )
    folder = train_gate(
        cohort=Cohort(data=given.data),
        runs=given.runs,
        recipe=recipe,
        progress=not given.no_progress,
    )
    print((folder / RECORD_FILE).read_text(encoding="utf-8"))  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
