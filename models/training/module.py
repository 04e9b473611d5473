"""One pass, one batch: loss, metrics, optimiser; the loop itself is Lightning's."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from torch import Tensor, nn
from torchmetrics import (
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    MetricCollection,
    PearsonCorrCoef,
)
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
)

from models.networks import BoneAgeNetwork, ClassNetwork
from models.networks.timm_backbone import AgeOutputs
from models.training.class_folders import ClassExample
from models.training.data import Example
from models.training.losses import AgeLoss, ClassLoss
from models.training.optimisation import build_optimizer, build_schedule, freeze
from models.training.recipe import WATCHABLE, WATCHED, Recipe
from schemas.errors import PermanentError
from schemas.releases import SexMode


class LossNotFiniteError(PermanentError):
    """The loss became infinite or no number: from here on nothing is learned."""

    code = "train.loss"

    def __init__(self, *, folder: Path, loss: float, passes_done: int, step: int) -> None:
        """``folder``: of the run."""
        if passes_done:
            kept = "what earlier passes gave is kept there"
            again = "give the run another name, and go on from its weights with warm_start=FILE"
        else:
            kept, again = "nothing was kept of it", "then give the same command again"
        super().__init__(
            f"The loss of run {folder} became {loss} in pass {passes_done + 1}, step {step}. "
            f"Training stopped; {kept}. Lower learning_rate, set clip_gradient, or try "
            f"precision=32-true; {again}."
        )


class MemberTraining(lightning.LightningModule):
    """A network in training; its two kinds know what a batch is and what is measured."""

    def __init__(self, network: nn.Module, backbone: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.validation_loss = MeanMetric()
        self._frozen = freeze(recipe, backbone)

    @abstractmethod
    def loss_of(self, batch: Any, part: str) -> Tensor:  # noqa: ANN401 - see the two kinds
        """Return the loss of a batch, and measure what it says; ``part``: train or val."""

    def on_train_batch_start(self, _batch: Any, _batch_index: int) -> None:  # noqa: ANN401 - see below
        """Draw what this step draws, and keep the statistics of frozen batch norms as they are.

        What dropout takes out follows from seed and step. Not once a pass: Lightning may tell
        nobody of the pass that a run goes on with.
        """
        step = self.recipe.seed * 10_000_000 + self.global_step
        torch.manual_seed(1000 * step + self.global_rank)
        for part in self._frozen:
            part.eval()

    def training_step(self, batch: Any, _batch_index: int) -> Tensor:  # noqa: ANN401 - see above
        """Return the loss of one batch.

        Raises:
            LossNotFiniteError: it is not a number.
        """
        loss = self._finite(self.loss_of(batch, "train"))
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, _batch_index: int) -> None:  # noqa: ANN401 - see above
        """Watch the averaged weights on the validation part.

        Raises:
            LossNotFiniteError: the loss is not a number.
        """
        self.validation_loss.update(self._finite(self.loss_of(batch, "val")))

    def _finite(self, loss: Tensor) -> Tensor:
        if not bool(torch.isfinite(loss)):
            raise LossNotFiniteError(
                folder=Path(self.trainer.default_root_dir),
                loss=float(loss.detach()),
                passes_done=self.current_epoch,
                step=self.global_step,
            )
        return loss

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own union is not exported
        """Return optimiser and schedule of the recipe."""
        optimizer = build_optimizer(self.recipe, self)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = build_schedule(self.recipe, optimizer, steps=steps)
        return {"optimizer": optimizer} | ({"lr_scheduler": schedule} if schedule else {})


def _image(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last)


class AgeTraining(MemberTraining):
    """Months, and the sex where the head predicts it; metrics are in months."""

    def __init__(self, network: BoneAgeNetwork, recipe: Recipe) -> None:
        super().__init__(network, network.backbone, recipe)
        self.loss = AgeLoss(recipe.loss, age_sd_months=network.age_sd_months)
        self.training_error = MeanAbsoluteError()
        self.age_metrics = MetricCollection(
            {
                "val_mae_months": MeanAbsoluteError(),
                "val_rmse_months": MeanSquaredError(squared=False),
                "val_pearson": PearsonCorrCoef(),
            }
        )
        self.sex_metrics = MetricCollection(
            {
                "val_sex_accuracy": BinaryAccuracy(),
                "val_sex_auroc": BinaryAUROC(),
                "val_sex_f1": BinaryF1Score(),
            }
        )
        #: months said and told in the last validation, for pictures; of this process alone
        self.said: list[tuple[float, float]] = []

    def forward(self, image: Tensor, sex: Tensor) -> AgeOutputs:
        """Return all that the network says."""
        network = cast("BoneAgeNetwork", self.network)
        return network.outputs(network.features(_image(image)), sex)

    def on_validation_epoch_start(self) -> None:
        """Forget what was said in the pass before."""
        self.said.clear()

    def loss_of(self, batch: Example, part: str) -> Tensor:
        """Return the loss of images, sexes and ages."""
        image, sex, age = batch
        outputs: AgeOutputs = self(image, sex)
        if part == "val":
            self._measure(outputs, sex, age)
        elif outputs.months is not None:
            self.training_error(outputs.months.detach(), age)
            self.log("train_mae_months", self.training_error, on_step=False, on_epoch=True)
        loss: Tensor = self.loss(outputs, sex, age)
        return loss

    def _measure(self, outputs: AgeOutputs, sex: Tensor, age: Tensor) -> None:
        if outputs.months is not None:
            months = outputs.months.float()
            self.age_metrics.update(months, age)
            self.said += list(zip(age.tolist(), months.tolist(), strict=True))
        if outputs.sex_logit is not None:
            self.sex_metrics.update(outputs.sex_logit.sigmoid(), sex.squeeze(1).long())

    def on_validation_epoch_end(self) -> None:
        """Log what was measured over all validation children."""
        chosen = []
        if self.recipe.head.sex is not SexMode.ONLY:
            chosen.append(self.age_metrics)
        if self.recipe.head.sex not in (SexMode.INPUT, SexMode.NONE):
            chosen.append(self.sex_metrics)
        _log_all(self, chosen)


class ClassTraining(MemberTraining):
    """One label for each picture."""

    def __init__(self, network: ClassNetwork, recipe: Recipe, *, weights: Tensor) -> None:
        super().__init__(network, network.backbone, recipe)
        self.loss = ClassLoss(recipe.loss, weights=weights)
        classes = weights.numel()
        self.class_metrics = MetricCollection(
            {
                "val_accuracy": MulticlassAccuracy(num_classes=classes, average="micro"),
                "val_f1": MulticlassF1Score(num_classes=classes),
                "val_auroc": MulticlassAUROC(num_classes=classes),
            }
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, ``(batch, classes)``."""
        logits: Tensor = self.network(_image(image))
        return logits

    def loss_of(self, batch: ClassExample, part: str) -> Tensor:
        """Return the loss of images and class numbers."""
        image, labels = batch
        logits: Tensor = self(image)
        if part == "val":
            self.class_metrics.update(logits.float(), labels)
        loss: Tensor = self.loss(logits, labels)
        return loss

    def on_validation_epoch_end(self) -> None:
        """Log what was measured over all validation pictures."""
        _log_all(self, [self.class_metrics])


def _log_all(module: MemberTraining, collections: list[MetricCollection]) -> None:
    """Log every metric, and the watched one as "watched", where less is better."""
    measured: dict[str, Tensor] = {"val_loss": module.validation_loss.compute()}
    module.validation_loss.reset()
    for metrics in collections:
        measured |= metrics.compute()
        metrics.reset()
    watched = module.recipe.metric
    for name, value in measured.items():
        module.log(name, value, prog_bar=name == watched)
    value = measured[watched]
    module.log(WATCHED, value if WATCHABLE[watched] == "min" else -value)
