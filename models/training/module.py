"""Loss, optimiser and what is watched; the loop itself is Lightning's."""

from typing import Any

import lightning
import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError

from models.networks import BoneAgeNetwork
from models.training.data import Example
from models.training.recipe import Recipe


class BoneAgeTraining(lightning.LightningModule):
    """One member in training.

    The loss is the absolute error in standard deviations of the training children's age; the
    metric is the absolute error in months.
    """

    def __init__(self, network: BoneAgeNetwork, recipe: Recipe, *, steps: int) -> None:
        super().__init__()
        self.network = network
        self._recipe = recipe
        self._steps = steps
        self.training_error = MeanAbsoluteError()
        self.validation_error = MeanAbsoluteError()

    def size_at(self, epoch: int) -> int:
        """Return the image size that a pass is validated at."""
        return self._recipe.size_at(epoch)

    def forward(self, image: Tensor, sex: Tensor) -> Tensor:
        """Return months, ``(batch,)``."""
        months: Tensor = self.network(image.contiguous(memory_format=torch.channels_last), sex)
        return months

    def training_step(self, batch: Example, _batch_index: int) -> Tensor:
        """Return the loss of one batch, in standard deviations of age."""
        image, sex, age = batch
        months = self(image, sex)
        self.training_error(months, age)
        self.log("train_mae_months", self.training_error, on_step=False, on_epoch=True)
        loss: Tensor = (months - age).abs().mean() / self.network.age_sd_months
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Example, _batch_index: int) -> None:
        """Watch the error of the averaged weights on the validation children."""
        image, sex, age = batch
        self.validation_error(self(image, sex), age)
        self.log("val_mae_months", self.validation_error, prog_bar=True)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own union is not exported
        """Return AdamW with a one-cycle schedule over all steps of the recipe."""
        decayed = [one for one in self.network.parameters() if one.ndim > 1]
        plain = [one for one in self.network.parameters() if one.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self._recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self._recipe.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self._recipe.learning_rate,
            total_steps=self._steps,
            pct_start=self._recipe.warm_up,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
