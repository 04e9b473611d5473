"""What a release manifest says (format 1). ``models.release`` reads and writes it."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT_VERSION = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PreprocessingRule(_Strict):
    """From display values to a network's input; the same in training and in serving."""

    working_size: int = Field(ge=64, le=4096)  #: squashed to this square first, INTER_AREA
    clip_percent: float = Field(ge=0, lt=50)  #: symmetric percentiles inside the exposed area
    border_tolerance: float = Field(ge=0, le=1)  #: a border line varies less than this share
    min_contrast: float = Field(ge=0)  #: least percentile range as a share of the full range
    mean: float = 0.5  #: network input = (unit - mean) / scale
    scale: float = 0.5
    #: the hand is turned upright, and broad borders are cut off, first; False, and then not written
    #: down: as it lies
    upright: bool = Field(default=False, exclude_if=lambda value: not value)


class Subtraction(StrEnum):
    """The grey level that is taken from every pixel; what would fall below 0 becomes 0."""

    NONE = "none"
    PERCENTILE = "percentile"  #: the 1st percentile of the pixels above 0
    MEAN = "mean"


class Framing(StrEnum):
    """How a picture becomes a square."""

    CENTRE = "centre"  #: the central square is cut out, then resized
    PAD = "pad"  #: black borders first, then resized
    FIT = "fit"  #: resized until the longer side fits, then black borders
    SQUASH = "squash"  #: resized without regard to the aspect


class Scaling(StrEnum):
    """What is done to the grey levels last."""

    GREY_LEVELS = "grey_levels"  #: nothing, 0 to 255 as floating-point numbers
    Z_SCORE = "z_score"  #: mean 0 and standard deviation 1 over the whole picture
    UNIT = "unit"  #: 0 to 255 becomes 0 to 1
    MIN_MAX = "min_max"  #: the least value becomes 0, the greatest 1
    IMAGENET = "imagenet"  #: 0 to 1, less ImageNet's mean, by its deviation, both as grey


class MemberPreprocessing(_Strict):
    """How a network of others wants its picture: 8-bit grey levels, then these steps in order."""

    use_mask: bool = False  #: everything outside the hand becomes 0
    subtract: Subtraction = Subtraction.NONE
    mask_crop: float | None = Field(default=None, ge=1, le=3)  #: square round the hand times this
    equalised: bool = False  #: each grey level becomes the share of pixels below it
    clahe_clip: float | None = Field(default=None, gt=0)  #: on 8 by 8 tiles
    #: pixels at each grey level of the picture that histograms are matched to
    reference_histogram: tuple[int, ...] | None = Field(
        default=None, min_length=256, max_length=256
    )
    framing: Framing
    antialiased: bool = False  #: torchvision's bilinear on a PIL picture; else OpenCV's
    scaling: Scaling


class ImportedNetwork(_Strict):
    """The shape of a network of others, and their linear correction of its months."""

    dense_features: tuple[int, ...] = ()  #: widths of the layers behind the pooled features
    activation: str = "relu"  #: "relu", "swish" or "mish"
    activate_pooled: bool = False  #: the activation is applied to the pooled features, too
    pool: int = Field(default=1, ge=1, le=4)  #: features are pooled to this many by as many
    #: widths of the trunk that predicts the sex which the age is read with; None: the sex is given
    sex_classifier: tuple[int, ...] | None = None
    bias_slope: float = 0.0  #: months - (slope * months + intercept)
    bias_intercept_months: float = 0.0


class SexMode(StrEnum):
    """What one of our own networks has to do with the sex."""

    INPUT = "input"  #: the given sex goes in beside the pooled features
    EXPLICIT_TRUE = "explicit_true"  #: so it does; layers of their own predict it as well
    EXPLICIT_PREDICTED = "explicit_predicted"  #: what those layers predict goes in instead
    IMPLICIT = "implicit"  #: not an input; predicted from the layers that predict the age
    ONLY = "only"  #: the sex is predicted, the age is not
    NONE = "none"  #: neither input nor output


class NetworkHead(_Strict):
    """What lies behind the backbone of one of our own networks."""

    dense_features: tuple[int, ...] = (256,)  #: widths of the layers before the months
    activation: Literal["relu", "swish", "mish"] = "relu"
    pool: int = Field(default=1, ge=1, le=4)  #: features are pooled to this many by as many
    sex: SexMode = SexMode.INPUT
    sex_features: int = Field(default=32, ge=1)  #: width of the branch that the sex goes through
    sex_classifier: tuple[int, ...] = ()  #: widths of the layers that predict the sex explicitly
    #: True: a probability for each month, whose mean is the age; False: one number
    distribution: bool = False


class MaskNetwork(_Strict):
    """The network that finds the hand for members that want it alone."""

    file: str  #: its checksum stands among the manifest's ``files``
    filters: int
    kernel_size: int
    input_size: int = 512


class Averaging(StrEnum):
    """The views of a picture whose months are averaged for one member."""

    NONE = "none"
    MIRROR = "mirror"  #: the picture and its mirror image
    FIVE_CROPS = "five_crops"  #: the four corners and the middle of a square


class TrainingRecord(_Strict):
    """How one network was trained, as its run wrote it down."""

    hardware: str = ""  #: empty: not written down
    hours: float | None = None  #: from start to end by the clock; None: not written down
    #: image size and error on the validate part, months, after each pass
    curve: tuple[tuple[int, float], ...] = ()


LEAST_INPUT = 64  #: pixels on each side; at fewer no hand can be read


class Member(_Strict):
    """One network of the ensemble."""

    name: str
    file: str
    sha256: str
    architecture: str  #: a name that models.networks can build
    input_size: int = Field(ge=LEAST_INPUT, le=2048)
    hidden_features: int = 256
    sex_features: int = 32
    #: None: one layer of ``hidden_features``, and the sex through ``sex_features``
    head: NetworkHead | None = None
    age_mean_months: float
    age_sd_months: float
    recipe: str
    validation_mae_months: float | None = None  #: None: nobody has measured it here
    training: TrainingRecord | None = None  #: None: others trained it, or nobody wrote it down
    #: None: one of ours, which reads the release's own working image
    preprocessing: MemberPreprocessing | None = None
    imported: ImportedNetwork | None = None
    averaging: Averaging = Averaging.NONE
    crop_share: float = Field(default=0.875, gt=0.5, le=1)  #: side of each of the five crops

    def seen_in(self, averaging: Averaging) -> "Member":
        """Return the member that averages over these views, each hand as large as before.

        Crops are smaller than the whole picture that the network was trained on.
        """
        size, crops = self.input_size, Averaging.FIVE_CROPS
        if averaging is crops and self.averaging is not crops:
            size = round(size * self.crop_share)
        elif averaging is not crops and self.averaging is crops:
            size = round(size / self.crop_share)
        return self.model_copy(update={"averaging": averaging, "input_size": size})


class Gate(_Strict):
    """The network that says whether an image may be read, and its bounds."""

    file: str  #: its checksum stands among the manifest's ``files``
    width: int = Field(ge=4, le=256)
    input_size: int = Field(ge=32, le=512)
    least_hand: float = Field(ge=0, le=1)  #: probability of one whole hand; below it: refused
    training_data: str


class GateRow(_Strict):
    """How the gate does on one kind of held-out pictures."""

    pictures: str
    n: int
    refused: int
    recognised: int | None = None  #: refused for the right reason, or mended; None: nothing to tell


class ChangeRow(_Strict):
    """How far the estimate moves when the same hand is shown in another way."""

    change: str
    n: int  #: images that could be read both ways
    mean_change_months: float  #: mean of the absolute changes
    mean_shift_months: float  #: mean of the signed changes
    mae_months: float  #: error of the changed images
    refused: int  #: changed images that the gate would refuse


class HeatmapMeasures(_Strict):
    """What the heatmaps were found to show, on held-out children."""

    n: int
    inside_hand: float  #: share of the absolute months inside the hand
    hand_area: float  #: share of the image that the hand covers
    inside_regions: float | None = None  #: share inside the boxes of ossification regions
    regions_area: float | None = None  #: share of the image that the boxes cover
    regions_n: int = 0
    randomised_similarity: float | None = None  #: rank correlation with randomised weights
    marker_share: float | None = None  #: share of the months on a marker drawn into a corner
    border_share: float | None = None  #: share of the months on a border drawn round the image


class IntervalGroup(_Strict):
    """Half width of the stated interval for one sex (and age band)."""

    sex: str  #: "F", "M" or "*"
    low_months: float = 0  #: band of the estimated age
    high_months: float = 1000
    half_width_months: float
    n: int  #: calibration children


class Calibration(_Strict):
    """Split-conformal intervals, fitted on children that no member was trained on."""

    coverage: float = Field(gt=0, lt=1)
    groups: tuple[IntervalGroup, ...]


class Phantom(_Strict):
    """What this release says about the constancy phantom."""

    age_months: float
    sex: str
    digest: str  #: sha256 of the phantom's array
    known_value_months: float
    tolerance_months: float


class MetricRow(_Strict):
    """Error of one group of held-out children."""

    group: str
    n: int
    mae_months: float
    mae_low: float  #: bootstrap 95 % interval
    mae_high: float
    rmse_months: float
    within_6: float
    within_12: float
    within_24: float
    coverage: float


class Manifest(_Strict):
    """The whole of release.toml."""

    format_version: int
    name: str
    version: str
    licence: str
    intended_use: str
    training_data: str
    training_data_sha256: str
    split_sha256: str
    youngest_months: float
    oldest_months: float
    preprocessing: PreprocessingRule
    members: tuple[Member, ...]
    calibration: Calibration
    phantom: Phantom
    metrics: tuple[MetricRow, ...]
    files: dict[str, str] = Field(default_factory=dict)  #: sha256 of every other file
    mask: MaskNetwork | None = None
    gate: Gate | None = None  #: None: the simple bounds alone
    gate_metrics: tuple[GateRow, ...] = ()
    changes: tuple[ChangeRow, ...] = ()
    heatmaps: HeatmapMeasures | None = None
    decisions: tuple[str, ...] | None = None  #: what was decided when others' weights came in
