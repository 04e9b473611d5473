"""Train the gate: ``python -m models.training.gate.train`` writes ``runs/gate``.

Two pools of examples are made once (``models.training.gate.pool``): one to learn from, one of
children and pictures that are kept out of it, on which the bound is chosen.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from models.gate.network import KINDS, GateNetwork, Kind, Sighting
from models.gate.trained import look
from models.gate.view import gate_view
from models.training.cohort import Cohort
from models.training.gate.pool import Plan, Pool, chosen_hands, make_pool
from models.training.places import default_data
from models.training.split import Part
from models.transforms import squash

WEIGHTS_FILE = "gate.safetensors"
RECORD_FILE = "gate.json"
LEARNING_RATE = 3e-3
BATCH = 64
SEED = 1
#: share of held-out hands that the bound refuses
MOST_REFUSED = 0.003
#: held-out examples that the record says something about
DESCRIBED = 800

Batch = list[Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRecipe:
    """How the gate is trained."""

    width: int = 16
    size: int = 112  #: pixels
    early_size: int = 80  #: pixels, in all passes but the last
    examples: int = 24_000
    held_out: int = 2_500
    passes: int = 5
    threads: int = 1
    workers: int = 2  #: processes that make the examples


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
        if self.current_epoch < self._recipe.passes - 1:
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
        optimizer = torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=LEARNING_RATE,
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


def _hands_seen(network: GateNetwork, plan: Plan) -> list[float]:
    """Return the probability of one whole hand for every hand that is kept out, as it is."""
    archive, rule = plan.cohort.open_archive(), plan.rule
    hands = (plan.hands[int(index)] for index in chosen_hands(plan))
    stored = (archive.read(folder=one.folder, image_id=one.image_id) for one in hands)
    views = (
        gate_view(squash(one, size=rule.working_size), size=plan.size, rule=rule) for one in stored
    )
    return [look(network, view).kinds[Kind.HAND] for view in views]


def describe(network: GateNetwork, plan: Plan, pool: Pool) -> dict[str, Any]:
    """Return the bound, and how it does on the examples that were kept out.

    Args:
        network: trained.
        plan: of what was kept out.
        pool: examples made by that plan.
    """
    network.eval()
    least = float(np.quantile(_hands_seen(network, plan), MOST_REFUSED))
    some = range(min(DESCRIBED, len(pool.views)))
    found = np.array(
        [look(network, pool.views[index] / np.float32(255)).kinds[Kind.HAND] for index in some]
    )
    kinds = pool.kinds[: len(some)]
    return {
        "least_hand": round(least, 3),
        "made_up_held_out_refused": {
            kind.value: round(float(np.mean(found[kinds == index] < least)), 4)
            for index, kind in enumerate(KINDS)
            if np.any(kinds == index)
        },
    }


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
    lightning.seed_everything(SEED, verbose=False)
    hands = tuple(cohort.select(Part.TRAIN))
    plan = Plan(cohort=cohort, hands=hands, cache=runs / "cache", size=recipe.size, seed=SEED)
    pool = make_pool(plan, count=recipe.examples, workers=recipe.workers)
    kept = Plan(
        cohort=cohort,
        hands=hands,
        cache=runs / "cache",
        size=recipe.size,
        seed=SEED + 1,
        held_out=True,
    )
    judged = make_pool(kept, count=recipe.held_out, workers=recipe.workers)
    network = GateNetwork(width=recipe.width).to(memory_format=torch.channels_last)
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
    folder = runs / "gate"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)
    record = {
        "width": recipe.width,
        "input_size": recipe.size,
        "examples": recipe.examples,
        "passes": recipe.passes,
        "split_sha256": cohort.split_sha256,
        **describe(network.float(), kept, judged),
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
    parser.add_argument("--no-progress", action="store_true")
    given = parser.parse_args()
    recipe = GateRecipe(examples=given.examples, held_out=given.held_out, passes=given.passes)
    folder = train_gate(
        cohort=Cohort(data=given.data),
        runs=given.runs,
        recipe=recipe,
        progress=not given.no_progress,
    )
    print((folder / RECORD_FILE).read_text(encoding="utf-8"))  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
