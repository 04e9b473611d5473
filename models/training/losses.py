"""What is made small: error of the age, doubt about the sex, wrong classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.timm_backbone import DISTRIBUTION_MONTHS, AgeOutputs
from models.training.recipe import Loss


def month_targets(age_months: Tensor, *, sd_months: float) -> Tensor:
    """Return the wanted probability of each month, ``(batch, DISTRIBUTION_MONTHS)``.

    Args:
        age_months: ``(batch,)``.
        sd_months: of a normal distribution round the label; 0 puts all into the nearest month.
    """
    months = torch.arange(DISTRIBUTION_MONTHS, device=age_months.device, dtype=torch.float32)
    if sd_months == 0:
        nearest = age_months.round().clamp(0, DISTRIBUTION_MONTHS - 1).long()
        return functional.one_hot(nearest, DISTRIBUTION_MONTHS).float()
    distance = (months[None, :] - age_months[:, None]) / sd_months
    return torch.softmax(-0.5 * distance**2, dim=1)


class AgeLoss(nn.Module):
    """Age and sex together, weighted by the recipe or by what the network learns of its doubt."""

    def __init__(self, options: Loss, *, age_sd_months: float) -> None:
        super().__init__()
        self._options = options
        self._age_sd_months = age_sd_months
        if options.learned_weights:
            self.log_variances = nn.Parameter(torch.zeros(2))  # of age and of sex

    def forward(self, outputs: AgeOutputs, sex: Tensor, age_months: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            outputs: of the network.
            sex: ``(batch, 1)``, 1.0 male, 0.0 female.
            age_months: ``(batch,)`` labels.
        """
        parts = [self._age(outputs, age_months), self._sex(outputs, sex)]
        weights = [self._options.age_weight, self._options.sex_weight]
        total = torch.zeros((), device=age_months.device)
        for index, (part, weight) in enumerate(zip(parts, weights, strict=True)):
            if part is None:
                continue
            if self._options.learned_weights:
                doubt = self.log_variances[index]
                half = 0.5 if index == 0 else 1.0  # a squared error, and a cross-entropy
                total = total + half * torch.exp(-doubt) * part + doubt
            else:
                total = total + weight * part
        return total

    def _age(self, outputs: AgeOutputs, age_months: Tensor) -> Tensor | None:
        if outputs.months is None:
            return None
        if outputs.month_logits is not None:
            wanted = month_targets(age_months, sd_months=self._options.distribution_sd_months)
            return functional.cross_entropy(outputs.month_logits.float(), wanted)
        error = (outputs.months - age_months) / self._age_sd_months
        return error.abs().mean() if self._options.age == "l1" else error.square().mean()

    def _sex(self, outputs: AgeOutputs, sex: Tensor) -> Tensor | None:
        if outputs.sex_logit is None:
            return None
        logit = outputs.sex_logit.float()
        return functional.binary_cross_entropy_with_logits(logit, sex.squeeze(1))


class ClassLoss(nn.Module):
    """Cross-entropy, or one less a smooth F-measure; classes may be weighted."""

    weights: Tensor

    def __init__(self, options: Loss, *, weights: Tensor) -> None:
        """``weights``: ``(classes,)``, used where the recipe balances the classes."""
        super().__init__()
        self._options = options
        used = weights if options.class_weights == "balanced" else torch.ones_like(weights)
        self.register_buffer("weights", used)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of ``(batch, classes)`` logits and ``(batch,)`` class numbers."""
        if self._options.classes == "cross_entropy":
            return functional.cross_entropy(logits.float(), labels, weight=self.weights)
        said = logits.float().softmax(dim=1)
        told = functional.one_hot(labels, said.shape[1]).float()
        hits = (said * told).sum(dim=0)
        f_measure = 2 * hits / (said.sum(dim=0) + told.sum(dim=0)).clamp_min(1e-6)  # (classes,)
        return 1 - (f_measure * self.weights).sum() / self.weights.sum()
