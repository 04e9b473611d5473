"""A timm backbone with a row of classes behind it, for pictures that have a label and no age."""

from torch import Tensor, nn

from models.networks.steps import run_steps, whole_map
from models.networks.timm_backbone import BackboneShape, create_backbone


class ClassNetwork(nn.Module):
    """Image in, one logit for each class out."""

    def __init__(self, shape: BackboneShape, *, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone, self._cut = create_backbone(shape)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self._cut.channels, classes))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, ``(batch, classes)``, from image ``(batch, channels, h, w)``."""
        if self._cut.before:
            steps = (*self._cut.before, *self._cut.after)
            feature_map = run_steps(self.backbone, steps, image)
        else:
            feature_map = whole_map(self.backbone, image)
        logits: Tensor = self.classifier(feature_map.float().mean(dim=(2, 3)))
        return logits
