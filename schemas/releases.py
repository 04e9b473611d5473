"""What a release manifest says (format 1). ``models.release`` reads and writes it."""

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


class Member(_Strict):
    """One network of the ensemble."""

    name: str
    file: str
    sha256: str
    architecture: str  #: a name that models.networks can build
    input_size: int = Field(ge=64, le=2048)
    hidden_features: int = 256
    sex_features: int = 32
    age_mean_months: float
    age_sd_months: float
    recipe: str
    validation_mae_months: float


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
