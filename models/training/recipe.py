"""What a recipe may say: everything that decides what a member becomes. A recipe is data."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.training.augmentation import Augmentation
from models.transforms import DEFAULT_RULE
from schemas.releases import Framing, MemberPreprocessing, NetworkHead, PreprocessingRule, SexMode

#: what is measured on the validation part after each pass → which way is better
WATCHABLE: dict[str, Literal["min", "max"]] = {
    "val_loss": "min",
    "val_mae_months": "min",
    "val_rmse_months": "min",
    "val_pearson": "max",
    "val_sex_accuracy": "max",
    "val_sex_auroc": "max",
    "val_sex_f1": "max",
    "val_accuracy": "max",
    "val_f1": "max",
    "val_auroc": "max",
}
#: the watched metric is logged under this name, too; there, less is always better
WATCHED = "watched"


class _Section(BaseModel):
    # name=2026 and name=nan are texts, whatever TOML takes them for
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Stage(_Section):
    """A number of passes over the training children at one image size."""

    passes: int = Field(ge=1)
    size: int = Field(ge=32, le=2048)  #: pixels


class Loss(_Section):
    """What is made small."""

    age: Literal["l1", "mse", "distribution"] = "l1"  #: the first two on z-scored ages
    distribution_sd_months: float = Field(default=0.0, ge=0)  #: of the wanted months; 0: one month
    age_weight: float = Field(default=1.0, ge=0)
    sex_weight: float = Field(default=0.0, ge=0)  #: of the cross-entropy of the predicted sex
    #: both weights are learned as uncertainties (Kendall, Gal and Cipolla, arXiv 1705.07115)
    learned_weights: bool = False
    classes: Literal["cross_entropy", "f_measure"] = "cross_entropy"
    #: "balanced": each class counts alike, however few its images
    class_weights: Literal["none", "balanced"] = "none"


class Schedule(_Section):
    """How the learning rate changes."""

    kind: Literal["one_cycle", "plateau", "cosine_restarts", "step", "constant"] = "one_cycle"
    passes: int = Field(default=7, ge=1)  #: until the next step or restart
    factor: float = Field(default=0.1, gt=0, lt=1)  #: of a step, and of a plateau
    patience: int = Field(default=10, ge=0)  #: passes without progress that make a plateau
    cooldown: int = Field(default=0, ge=0)  #: passes after a plateau that are not judged
    min_rate: float = Field(default=0.0, ge=0)


class Watch(_Section):
    """The metric that chooses the best pass, finds plateaus and may end the run."""

    metric: str = ""  #: one of ``WATCHABLE``; empty: that of the task
    patience: int = Field(default=0, ge=0)  #: passes without progress that end the run; 0: never


class Images(_Section):
    """Which images are read, how often, and from where."""

    folders: tuple[str, ...] = ()  #: values of the column ``dir``; empty: those of the cohort
    children: int = Field(default=0, ge=0)  #: at most so many in each part; 0: all
    cache: Literal["disk", "memory", "none"] = "disk"  #: where prepared images are kept
    balance: Literal["none", "age"] = "none"  #: "age": each of four age bins alike often
    images_in_a_pass: int = Field(default=0, ge=0)  #: drawn when balanced; 0: as many as there are
    range: Literal["image", "header"] = "image"  #: "header": of the bits stored, not of the values
    reference_image: str = ""  #: histograms are matched to it
    fourier: Literal["none", "magnitude", "parts"] = "none"  #: "parts": real, imaginary, magnitude


class Recipe(_Section):
    """How one member is trained."""

    name: str = Field(pattern=r"^[\w.\-]+$")
    summary: str = ""  #: one line for `boneage train --list`
    task: Literal["age", "classes"] = "age"  #: "classes": an ImageFolder layout, one label each
    architecture: str  #: any name of timm's
    stages: tuple[Stage, ...] = Field(min_length=1)
    pretrained: bool = True  #: start from the ImageNet weights of an installed package
    backbone_weights: str = ""  #: start from this file of published weights instead
    warm_start: str = ""  #: start from this safetensors file of a finished run instead
    #: start from the best weights of this recipe's run in the same folder of runs, which is trained
    #: first where there is none; ``warm_start`` goes before
    after: str = ""
    #: "backbone", or a module of it: all up to and including that one keep weights and statistics
    freeze: str = ""
    seed: int = Field(default=1, ge=0)
    batch_size: int = Field(default=64, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0)  #: the peak of a one-cycle schedule
    momentum: float = Field(default=0.9, ge=0, lt=1)  #: of SGD
    weight_decay: float = Field(default=0.02, ge=0)  #: not of biases and norms
    warm_up: float = Field(default=0.15, ge=0, lt=1)  #: share of a one-cycle until its peak
    dropout: float = Field(default=0.2, ge=0, lt=1)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)  #: of averaged weights; 0: no average
    clip_gradient: float = Field(default=5.0, ge=0)  #: 0: not clipped
    #: pass-N.ckpt is kept of every so many passes, beside best.ckpt and last.ckpt; 0: of none
    keep_every: int = Field(default=0, ge=0)
    device_stats: bool = False  #: load and memory of processors and GPU stand beside the curves
    precision: str = "bf16-mixed"  #: of Lightning's Trainer
    threads: int = Field(default=0, ge=0)  #: CPU threads; 0: as many as there are
    workers: int = Field(default=0, ge=0)  #: processes that load data
    #: how often `boneage evaluate` reads each test image of the run, where --tta says nothing else
    test_augmentation: Literal["none", "mirror", "five_crops", "rotations_and_flip"] = "none"
    crop_share: float = Field(default=0.875, gt=0.5, le=1)  #: side of each of the five crops
    head: NetworkHead = NetworkHead()
    loss: Loss = Loss()
    schedule: Schedule = Schedule()
    watch: Watch = Watch()
    images: Images = Images()
    augmentation: Augmentation = Augmentation()
    #: how the picture is made; None: as releases of ours make it, by ``rule``
    preprocessing: MemberPreprocessing | None = None
    rule: PreprocessingRule = DEFAULT_RULE

    @field_validator("rule", mode="before")
    @classmethod
    def _rest_of_rule(cls, rule: object) -> object:
        """Return the rule with the usual value of every key that the recipe leaves out."""
        return DEFAULT_RULE.model_dump() | rule if isinstance(rule, dict) else rule

    @model_validator(mode="after")
    def _parts_fit(self) -> "Recipe":
        problem = next((words for wrong, words in self._misfits() if wrong), None)
        if problem:
            raise ValueError(problem)
        return self

    def _misfits(self) -> tuple[tuple[bool, str], ...]:
        says_sex = self.head.sex not in (SexMode.INPUT, SexMode.NONE)
        has_age = self.head.sex is not SexMode.ONLY
        weighted = self.loss.sex_weight > 0 or self.loss.learned_weights
        uses_mask = self.preprocessing is not None and self.preprocessing.use_mask
        cuts = self.preprocessing is not None and self.preprocessing.framing is Framing.CENTRE
        return (
            (
                self.head.distribution != (self.loss.age == "distribution") and has_age,
                'head.distribution = true and loss.age = "distribution" belong together',
            ),
            (says_sex and not weighted, "the head predicts the sex: give loss.sex_weight"),
            (weighted and not says_sex, f'head.sex = "{self.head.sex}" predicts no sex to weigh'),
            (
                self.metric not in self._measured(),
                f"watch.metric = {self.metric!r} is not measured here, but {self._measured()} are",
            ),
            (self.task == "classes" and uses_mask, "pictures with classes have no masks"),
            (
                self.images.reference_image != "" and self.preprocessing is None,
                "images.reference_image needs a [preprocessing]",
            ),
            (
                self.augmentation.random_crop and not cuts,
                'augmentation.random_crop needs preprocessing.framing = "centre"',
            ),
            (
                self.augmentation.random_crop
                and self.task == "age"
                and self.images.cache != "none",
                'augmentation.random_crop needs images.cache = "none": kept pictures are cut once',
            ),
        )

    def _measured(self) -> tuple[str, ...]:
        """Return what is measured after each pass of such a recipe."""
        names: tuple[str, ...] = ("val_loss",)
        if self.task == "classes":
            return (*names, "val_accuracy", "val_f1", "val_auroc")
        if self.head.sex is not SexMode.ONLY:
            names = (*names, "val_mae_months", "val_rmse_months", "val_pearson")
        if self.head.sex not in (SexMode.INPUT, SexMode.NONE):
            names = (*names, "val_sex_accuracy", "val_sex_auroc", "val_sex_f1")
        return names

    @property
    def metric(self) -> str:
        """The watched metric."""
        if self.watch.metric:
            return self.watch.metric
        if self.task == "classes":
            return "val_accuracy"
        return "val_sex_auroc" if self.head.sex is SexMode.ONLY else "val_mae_months"

    @property
    def passes(self) -> int:
        """All passes over the training children."""
        return sum(stage.passes for stage in self.stages)

    @property
    def input_size(self) -> int:
        """The size of the last stage: what the member reads in service."""
        return self.stages[-1].size

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return 3 if self.images.fourier == "parts" else 1

    def size_at(self, epoch: int) -> int:
        """Return the image size of one pass, counted from 0."""
        last = 0
        for stage in self.stages:
            last += stage.passes
            if epoch < last:
                return stage.size
        return self.input_size

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain values, for the record of a run."""
        values: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return values
