"""One image in, one finding out: what the release says, the page that shows it, and its SC."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from schemas.assessments import Assessment, NoAssessment, SiteProfile
from schemas.errors import PermanentError, UnsuitableImageError
from schemas.estimates import BoneAgeEstimate, Estimator, GateVerdict, HandImage, Heatmap, Reading
from schemas.images import Sex, SourceImage
from schemas.jobs import FormerReport, Outcome
from schemas.refusals import RefusalReason
from schemas.results import ResultContent
from worker.inference.header import header_flags, read_source, require_readable_age
from worker.inference.pixels import display_values
from worker.inference.received import ReceivedImage
from worker.reporting.assessment import assess
from worker.reporting.heatmap_picture import draw_heatmap_picture
from worker.reporting.local_calibration import calibrated
from worker.reporting.page import draw_page
from worker.reporting.secondary_capture import build_heatmap_capture, build_secondary_capture


class ImpossibleEstimateError(PermanentError):
    """The networks gave something that is no age."""

    code = "inference.impossible_estimate"

    def __init__(self, *, release: str) -> None:
        super().__init__(
            f"Release {release} gave an age that is below zero, not finite, or outside its own "
            "interval. Nothing was reported. Run `boneage release verify`; if it passes, report "
            "this image."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """Which revision of a result is made, and what it supersedes."""

    number: int = 1
    predecessors: tuple[FormerReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the release says about one image, before anything is drawn or reported."""

    content: ResultContent
    pixels: NDArray[np.float32]  #: ``(rows, columns)`` display values, bone bright
    heatmap: Heatmap  #: of the first estimate
    timings_ms: dict[str, float]
    mask_used: bool | None = None  #: whether the mask network was asked; None: there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Everything that is made of one image; nothing of it is on disk yet."""

    content: ResultContent
    header: bytes  #: the source's header as a DICOM file, see ``ReceivedImage``
    page: NDArray[np.uint8]  #: ``(height, width, 3)`` RGB
    capture: Dataset  #: the Secondary Capture, complete with file meta
    heatmap_capture: Dataset | None  #: the heatmap alone, where it was asked for
    timings_ms: dict[str, float]


FIRST = Revision()


class ImageReader:
    """Reads one image at a time with one release and one site profile. Writes nothing."""

    def __init__(
        self,
        *,
        estimator: Estimator,
        profile: SiteProfile,
        installation_id: str,
        software_version: str,
        now: Callable[[], datetime],
    ) -> None:
        self._estimator = estimator
        self._profile = profile
        self._installation_id = installation_id
        self._software_version = software_version
        self._now = now

    def read(
        self,
        image: ReceivedImage,
        revision: Revision = FIRST,
        *,
        sex: Sex | None = None,
        with_heatmap_object: bool = False,
    ) -> Finding:
        """Return the estimate for one image, or both where the sex is unknown, with its report.

        Args and raises as ``examine``; ``with_heatmap_object`` adds the heatmap alone.
        """
        examined = self.examine(image, revision, sex=sex)
        laps = _Laps(examined.timings_ms)
        content = replace(examined.content, has_heatmap_object=with_heatmap_object)
        finding = self._finding(
            image, content, laps, pixels=examined.pixels, heatmap=examined.heatmap
        )
        if not with_heatmap_object:
            return finding
        picture = draw_heatmap_picture(content, examined.pixels, examined.heatmap)
        capture = build_heatmap_capture(content, image.read_header(), picture)
        laps.end("heatmap")
        return replace(finding, heatmap_capture=capture, timings_ms=laps.milliseconds)

    def examine(
        self,
        image: ReceivedImage,
        revision: Revision = FIRST,
        *,
        sex: Sex | None = None,
        is_whole: bool = False,
    ) -> Examination:
        """Return the estimate for one image, or both where the sex is unknown.

        Args:
            image: any received object; intake rules are not asked.
            revision: which one this is.
            sex: what an operator said; it goes before the header.
            is_whole: all of the image is read, also where the release has a mask network.

        Raises:
            UnsuitableImageError: it must not be read; ``refuse`` makes the finding of that.
            MissingIdentityError: no report can be written for it.
            ImpossibleEstimateError: the release is broken.
        """
        laps = _Laps()
        source = read_source(image.dataset, sex=sex)
        age_range = self._estimator.age_range_months
        require_readable_age(image.dataset, source, age_range_months=age_range)
        pixels = display_values(image.dataset)
        laps.end("decode")
        verdict = self._estimator.check(pixels)
        _require_passed(verdict)
        laps.end("check")
        sexes = (source.sex.sex,) if source.sex.sex else (Sex.FEMALE, Sex.MALE)
        reading = self._estimator.read(
            [
                HandImage(
                    pixels=pixels,
                    sexes=sexes,
                    mending=verdict.mending,
                    is_whole=is_whole,
                    begun=verdict.begun,
                )
            ]
        )[0]
        laps.end("read")
        blank = self._content(source, revision, outcome=Outcome.ESTIMATED)
        return Examination(
            content=self._estimated(image, reading, verdict, blank),
            pixels=pixels,
            heatmap=reading.heatmap,
            timings_ms=laps.milliseconds,
            mask_used=reading.mask_used,
        )

    def refuse(
        self,
        image: ReceivedImage,
        revision: Revision = FIRST,
        *,
        reason: RefusalReason,
        detail: str,
        sex: Sex | None = None,
    ) -> Finding:
        """Return the finding that says why there is no number.

        Args:
            image: the image that was not read.
            revision: which one this is.
            reason: the coded reason.
            detail: coded values and numbers; it stands in the report.
            sex: what an operator said.
        """
        laps = _Laps()
        source = read_source(image.dataset, sex=sex)
        content = replace(
            self._content(source, revision, outcome=Outcome.REFUSED),
            reason=reason,
            reason_detail=detail,
            flags=header_flags(image.dataset, source),
        )
        # after a technical failure the pixels may be what failed: they are left alone
        is_shown = reason is not RefusalReason.TECHNICAL
        pixels = _shown_pixels(image.dataset) if is_shown else None
        laps.end("decode")
        return self._finding(image, content, laps, pixels=pixels, heatmap=None)

    def _estimated(
        self, image: ReceivedImage, reading: Reading, verdict: GateVerdict, blank: ResultContent
    ) -> ResultContent:
        """Return ``blank`` filled with what the release and the reference table say."""
        source = blank.source
        for estimate in reading.estimates:
            _require_possible(estimate, release=self._estimator.release.name)
            _require_in_range(estimate, self._estimator.age_range_months)
        estimates = tuple(calibrated(one, self._profile) for one in reading.estimates)
        assessed: Assessment | NoAssessment = NoAssessment.NO_SEX
        if source.sex.sex is not None:
            assessed = assess(estimates[0], source.sex.sex, source.chronological_age, self._profile)
        flags = (*header_flags(image.dataset, source), *verdict.flags, *reading.flags)
        return replace(
            blank,
            estimates=estimates,
            assessment=assessed if isinstance(assessed, Assessment) else None,
            no_assessment=assessed if isinstance(assessed, NoAssessment) else None,
            flags=tuple(dict.fromkeys(flags)),
            outline=reading.outline,
        )

    def _content(
        self, source: SourceImage, revision: Revision, *, outcome: Outcome
    ) -> ResultContent:
        """Return what every result says of its origin."""
        return ResultContent(
            outcome=outcome,
            source=source,
            release=self._estimator.release,
            profile=self._profile,
            revision=revision.number,
            created_at=self._now().astimezone(),  # this machine's zone; objects carry its offset
            software_version=self._software_version,
            installation_id=self._installation_id,
            predecessors=revision.predecessors,
        )

    def _finding(
        self,
        image: ReceivedImage,
        content: ResultContent,
        laps: "_Laps",
        *,
        pixels: NDArray[np.float32] | None,
        heatmap: Heatmap | None,
    ) -> Finding:
        page = draw_page(content, pixels, heatmap)
        laps.end("draw")
        capture = build_secondary_capture(content, image.read_header(), page)
        laps.end("capture")
        return Finding(
            content=content,
            header=image.header,
            page=page,
            capture=capture,
            heatmap_capture=None,
            timings_ms=laps.milliseconds,
        )


class _Laps:
    """How long each step took, after those that were taken before."""

    def __init__(self, before: Mapping[str, float] = MappingProxyType({})) -> None:
        self.milliseconds = dict(before)
        self._since = perf_counter()

    def end(self, step: str) -> None:
        now = perf_counter()
        self.milliseconds[step] = round(1000 * (now - self._since), 1)
        self._since = now


def _require_passed(verdict: GateVerdict) -> None:
    if verdict.refusal is not None:
        raise UnsuitableImageError(
            verdict.refusal,
            keyword=verdict.keyword,
            found=verdict.found,
            expected=verdict.expected,
        )


def _require_possible(estimate: BoneAgeEstimate, *, release: str) -> None:
    interval = estimate.interval
    numbers = (interval.low_months, estimate.age_months, interval.high_months)
    is_ordered = sorted(numbers) == list(numbers) and numbers[0] >= 0
    if not (all(map(math.isfinite, numbers)) and is_ordered):
        raise ImpossibleEstimateError(release=release)


def _require_in_range(estimate: BoneAgeEstimate, age_range_months: tuple[float, float]) -> None:
    """Let pass only ages that the networks have learnt; what they say beyond is extrapolated."""
    low, high = age_range_months
    if low <= estimate.age_months <= high:
        return
    raise UnsuitableImageError(
        RefusalReason.AGE_OUTSIDE_RANGE,
        keyword="estimated age",
        found="below the range" if estimate.age_months < low else "above the range",
        expected=f"ages from {low:.0f} to {high:.0f} months",
    )


def _shown_pixels(dataset: Dataset) -> NDArray[np.float32] | None:
    """Return the pixels of a refused image for its page; ``None`` if they are the reason."""
    try:
        return display_values(dataset)
    except UnsuitableImageError:
        return None
