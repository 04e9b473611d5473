"""What one release says about one hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from schemas.images import Sex
from schemas.refusals import RefusalReason

if TYPE_CHECKING:  # who receives needs the name of a release, and no arrays
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray


class QualityFlag(StrEnum):
    """A doubt that does not forbid the estimate; it stands in the report and on the page."""

    LOW_CONTRAST = "low_contrast"
    MEMBERS_DISAGREE = "members_disagree"
    NEAR_RANGE_LIMIT = "near_range_limit"
    LOW_RESOLUTION = "low_resolution"
    POLARITY_MENDED = "polarity_mended"
    ORIENTATION_MENDED = "orientation_mended"
    AGE_CONTRADICTION = "age_contradiction"
    PHANTOM = "phantom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A prediction interval for the age that a reader would give."""

    low_months: float
    high_months: float
    coverage: float  #: stated share, 0.9 for 90 %


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEstimate:
    """What one network of the ensemble says."""

    member: str
    age_months: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BoneAgeEstimate:
    """What one release says about one hand, read as that of a girl or of a boy."""

    sex: Sex
    age_months: float
    spread_months: float  #: standard deviation over the members
    members: tuple[MemberEstimate, ...]
    interval: Interval
    uncalibrated_months: float | None = None  #: what the release said, where the site corrects it


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseIdentity:
    """Names a release for ever: the digest covers the manifest, and so every file in it."""

    name: str
    version: str
    digest: str  #: sha256 of release.toml, hexadecimal
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """How an image has to be changed before it can be read."""

    turns: int = 0  #: quarter turns clockwise that make the fingers point up
    is_inverted: bool = False  #: air is bright: the values have to be mirrored within their range


NOTHING_TO_MEND = Mending()


@dataclass(frozen=True, slots=True, kw_only=True)
class HandImage:
    """What a network is asked: an image, and the sexes to read it as."""

    pixels: "NDArray[np.float32]"  #: ``(rows, columns)`` display values, bone bright, any range
    sexes: tuple[Sex, ...]  #: one, or both where the header does not say
    mending: Mending = NOTHING_TO_MEND  #: what ``Estimator.check`` found
    is_whole: bool = False  #: all of it is read, also where the release has a mask network
    #: what ``Estimator.check`` began to make of these very pixels, as they lie, for all sexes
    begun: "Future[Any] | None" = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """Signed contributions to the network's output, laid over the whole source image.

    Not the age of the bone that lies there.
    """

    #: ``(rows, columns)`` of a coarse grid of fields over the whole image, months in each field;
    #: the sum is the estimate less ``intercept_months``
    months: "NDArray[np.float32]"
    intercept_months: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that a release says about one image."""

    estimates: tuple[BoneAgeEstimate, ...]  #: in the order of ``HandImage.sexes``
    heatmap: Heatmap  #: of the first estimate
    outline: tuple[tuple[float, float], ...]  #: closed polygon, (column, row) of the source image
    flags: tuple[QualityFlag, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)
    #: whether the mask network was asked; None: the release has none
    mask_used: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """May this image be read at all?"""

    refusal: RefusalReason | None  #: None: it may
    keyword: str = ""  #: what was looked at
    found: str = ""  #: the value found
    expected: str = ""  #: what can be read
    flags: tuple[QualityFlag, ...] = ()
    mending: Mending = NOTHING_TO_MEND  #: goes into ``HandImage``; the flags say so, too
    #: goes into ``HandImage``, too: the estimator's own, made beside the check; None: nothing
    begun: "Future[Any] | None" = field(default=None, compare=False, repr=False)


class Estimator(Protocol):
    """All that the worker knows of a release. ``models.ensemble`` makes one; tests use a stub."""

    @property
    def release(self) -> ReleaseIdentity:
        """Which release this is."""
        ...

    @property
    def age_range_months(self) -> tuple[float, float]:
        """Youngest and oldest chronological age that the release reads."""
        ...

    def check(self, pixels: "NDArray[np.float32]") -> GateVerdict:
        """Say whether these pixels, ``(rows, columns)``, bone bright, may be read."""
        ...

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        """Return a reading for each image, in order; one forward pass for each member."""
        ...
