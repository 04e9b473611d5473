"""An ``Estimator``: the members of a release in, one ``BoneAgeEstimate`` for each sex out."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.calibration import interval_of
from models.foreign_preprocessing import Grey
from models.gate.judge import judge_pixels
from models.gate.mending import mended, turned_back
from models.hand_mask import NoHandFoundError, choose_hand, hand_probability
from models.member_input import MemberInput, Picture
from models.phantom import is_phantom
from models.release.load import LoadedMember, LoadedRelease, load_release
from models.saliency import contributions, empty_exposure, onto_source_grid, outline_peak
from models.transforms import normalise
from schemas.errors import PermanentError
from schemas.estimates import (
    BoneAgeEstimate,
    GateVerdict,
    HandImage,
    Heatmap,
    MemberEstimate,
    QualityFlag,
    Reading,
    ReleaseIdentity,
)
from schemas.images import Sex
from schemas.releases import Manifest, PreprocessingRule

#: standard deviation over the members, in months, from which on a flag is set
DISAGREEMENT_MONTHS = 6.0
#: distance to the youngest or oldest training label that sets a flag, months
NEAR_LIMIT_MONTHS = 6.0


class NoSexGivenError(PermanentError):
    """An image came without a sex to read it as; the caller asks for both, never for none."""

    code = "estimate.no_sex"

    def __init__(self) -> None:
        super().__init__(
            "No sex was given to read the image as. Nothing was predicted. "
            "Ask for both sexes where the header does not say."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberReading:
    """What one member says about a batch of images, each read as every sex asked for."""

    months: tuple[tuple[float, ...], ...]  #: for each image, for each of its sexes
    cells: NDArray[np.float32]  #: ``(image, view, rows, columns)`` months, of the first sex
    views: tuple[tuple[MemberInput, ...], ...]  #: for each image, what the member saw of it
    intercepts: NDArray[np.float32]  #: ``(image,)`` months


def sex_input(sexes: Sequence[Sex], *, device: torch.device) -> Tensor:
    """Return ``(batch, 1)`` float32: 1.0 male, 0.0 female."""
    values = [[1.0 if sex is Sex.MALE else 0.0] for sex in sexes]
    return torch.tensor(values, dtype=torch.float32, device=device)


def ask_member(
    member: LoadedMember,
    given: Sequence[tuple[MemberInput, ...]],
    sexes: Sequence[tuple[Sex, ...]],
    *,
    device: torch.device,
    empty: Tensor | None,
) -> MemberReading:
    """Run one member once over a batch; the head alone runs again for each further sex.

    Args:
        member: network and manifest entry.
        given: for each image, the views that its preprocessing made for this member; as many for
            each.
        sexes: for each image, the sexes it is to be read as; at least one.
        device: where the member's network is.
        empty: its map of an empty exposure; None: made from each view's least value.
    """
    network = member.network
    count = len(given[0])  # views of an image
    inputs = torch.stack([one.values for views in given for one in views]).to(device)
    with torch.no_grad():
        feature_map = network.features(inputs.contiguous(memory_format=torch.channels_last))
        rows = [index for index, asked in enumerate(sexes) for _ in asked]
        flat = sex_input([sex for asked in sexes for sex in asked], device=inputs.device)
        shown = [row * count + view for row in rows for view in range(count)]
        said = network.head(feature_map[shown], flat.repeat_interleave(count, dim=0))
        said = said.view(-1, count)  # (image and sex, view)
    firsts = [rows.index(index) for index in range(len(sexes))]
    parts = contributions(
        network,
        feature_map,
        flat[firsts].repeat_interleave(count, dim=0),
        empty=empty_exposure(network, inputs) if empty is None else empty,
        estimate=said[firsts].flatten(),
    )
    months = iter(said.mean(dim=1).tolist())
    cells = parts.months.cpu().numpy()
    return MemberReading(
        months=tuple(tuple(next(months) for _ in asked) for asked in sexes),
        cells=cells.reshape(len(given), count, *cells.shape[1:]),
        views=tuple(given),
        intercepts=parts.intercept_months.view(-1, count).mean(dim=1).cpu().numpy(),
    )


def _place(one: MemberReading, index: int, *, rows: int, columns: int) -> NDArray[np.float32]:
    """Return a member's map of one image on the grid over the whole image, mean of its views."""
    fields = []
    for cells, view in zip(one.cells[index], one.views[index], strict=True):
        placed = onto_source_grid(
            cells, view.frame, input_size=view.values.shape[-1], rows=rows, columns=columns
        )
        fields.append(placed[:, ::-1] if view.is_mirrored else placed)
    return np.mean(fields, axis=0, dtype=np.float32)


class Ensemble:
    """The networks of one release, asked together. Satisfies ``schemas.estimates.Estimator``."""

    def __init__(self, release: LoadedRelease) -> None:
        self._loaded = release
        self._manifest = release.manifest
        self._rule = release.manifest.preprocessing
        self._empty = [_empty_of(member, self._rule) for member in release.members]

    @property
    def release(self) -> ReleaseIdentity:
        """Which release this is."""
        return self._loaded.identity

    @property
    def age_range_months(self) -> tuple[float, float]:
        """Youngest and oldest chronological age that the release reads."""
        return (self._manifest.youngest_months, self._manifest.oldest_months)

    @property
    def folder(self) -> Path:
        """Where the release lies."""
        return self._loaded.folder

    @property
    def manifest(self) -> Manifest:
        """All that the release says about itself."""
        return self._manifest

    def check(self, pixels: NDArray[np.float32]) -> GateVerdict:
        """Say whether these pixels, ``(rows, columns)``, bone bright, may be read.

        The constancy phantom whose digest the manifest pins passes in any case, with its flag.
        """
        if is_phantom(pixels, digest=self._manifest.phantom.digest):
            return GateVerdict(refusal=None, flags=(QualityFlag.PHANTOM,))
        return judge_pixels(pixels, rule=self._rule, gate=self._loaded.gate)

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        """Return a reading for each image, in order; one forward pass for each member.

        Raises:
            FlatImageError: an image is almost uniform (``check`` refuses it before).
            NoHandFoundError: a member wants the hand alone, and none is found.
            NoSexGivenError: an image names no sex to read it as.
        """
        asked, timings = self._ask(images)
        return [
            self._combine(image, [(one, index) for one in asked], timings)
            for index, image in enumerate(images)
        ]

    def estimate(self, images: Sequence[HandImage]) -> list[BoneAgeEstimate]:
        """Return the estimates alone, without heatmaps: every image, every sex, in order.

        Raises:
            FlatImageError: an image is almost uniform.
            NoSexGivenError: an image names no sex to read it as.
        """
        asked, _timings = self._ask(images)
        return [
            self._estimate(sex, [one.months[index][position] for one in asked])
            for index, image in enumerate(images)
            for position, sex in enumerate(image.sexes)
        ]

    def _ask(self, images: Sequence[HandImage]) -> tuple[list[MemberReading], dict[str, float]]:
        """Return every member's reading of the batch, and milliseconds for each image."""
        sexes = [image.sexes for image in images]
        if not all(sexes):
            raise NoSexGivenError
        if not images:
            return [], {}
        started = time.perf_counter()
        pictures = [self._picture(mended(image.pixels, image.mending)) for image in images]
        members = self._loaded.members
        inputs = [[picture.views_for(one.entry) for picture in pictures] for one in members]
        prepared = time.perf_counter()
        asked = [
            ask_member(member, given, sexes, device=self._loaded.device, empty=empty)
            for member, given, empty in zip(members, inputs, self._empty, strict=True)
        ]
        timings = {
            "preprocess": 1000 * (prepared - started) / len(images),
            "networks": 1000 * (time.perf_counter() - prepared) / len(images),
        }
        return asked, timings

    def _picture(self, pixels: NDArray[np.float32]) -> Picture:
        """Return an image ready to be prepared for each member."""
        network, entry = self._loaded.mask, self._manifest.mask
        if network is None or entry is None:
            return Picture(pixels, rule=self._rule)

        def find_hand(grey: Grey) -> NDArray[np.bool_]:
            try:
                return choose_hand(
                    hand_probability(
                        grey, network=network, size=entry.input_size, device=self._loaded.device
                    )
                )
            except NoHandFoundError:
                # the phantom measures that nothing changed; it need not look like a hand
                if is_phantom(pixels, digest=self._manifest.phantom.digest):
                    return np.ones(grey.shape, dtype=np.bool_)
                raise

        return Picture(pixels, rule=self._rule, find_hand=find_hand)

    def _combine(
        self,
        image: HandImage,
        asked: Sequence[tuple[MemberReading, int]],
        timings_ms: dict[str, float],
    ) -> Reading:
        started = time.perf_counter()
        rows, columns = image.pixels.shape
        across = image.mending.turns % 2 == 1
        upright = (columns, rows) if across else (rows, columns)
        estimates = tuple(
            self._estimate(sex, [one.months[index][position] for one, index in asked])
            for position, sex in enumerate(image.sexes)
        )
        fields = np.mean(
            [_place(one, index, rows=upright[0], columns=upright[1]) for one, index in asked],
            axis=0,
            dtype=np.float32,
        )
        heatmap = Heatmap(
            months=turned_back(fields, image.mending),
            intercept_months=float(np.mean([one.intercepts[index] for one, index in asked])),
        )
        outline = outline_peak(heatmap.months, rows=rows, columns=columns)
        heatmap_ms = 1000 * (time.perf_counter() - started)
        return Reading(
            estimates=estimates,
            heatmap=heatmap,
            outline=outline,
            flags=self._flags(estimates),
            timings_ms={**timings_ms, "heatmap": heatmap_ms},
        )

    def _estimate(self, sex: Sex, months: Sequence[float]) -> BoneAgeEstimate:
        age = float(np.mean(months))
        return BoneAgeEstimate(
            sex=sex,
            age_months=age,
            spread_months=float(np.std(months, ddof=1)) if len(months) > 1 else 0.0,
            members=tuple(
                MemberEstimate(member=member.entry.name, age_months=value)
                for member, value in zip(self._loaded.members, months, strict=True)
            ),
            interval=interval_of(age, sex=sex, calibration=self._manifest.calibration),
        )

    def _flags(self, estimates: Sequence[BoneAgeEstimate]) -> tuple[QualityFlag, ...]:
        flags = []
        youngest, oldest = self._manifest.youngest_months, self._manifest.oldest_months
        if any(one.spread_months > DISAGREEMENT_MONTHS for one in estimates):
            flags.append(QualityFlag.MEMBERS_DISAGREE)
        if any(
            one.age_months < youngest + NEAR_LIMIT_MONTHS
            or one.age_months > oldest - NEAR_LIMIT_MONTHS
            for one in estimates
        ):
            flags.append(QualityFlag.NEAR_RANGE_LIMIT)
        return tuple(flags)


def _empty_of(member: LoadedMember, rule: PreprocessingRule) -> Tensor | None:
    """Return a member's map of an empty exposure, where its rule says what air looks like."""
    if member.entry.preprocessing is not None:
        return None
    size = member.entry.input_size
    air = normalise(np.zeros((size, size), dtype=np.float32), rule=rule)
    device = next(member.network.parameters()).device
    return empty_exposure(member.network, torch.from_numpy(air)[None, None].to(device))


def load_estimator(release: str | Path, *, device: str = "cpu") -> Ensemble:
    """Return the verified release as an ``Estimator``.

    Args:
        release: its name in ``models/releases``, or the path of its folder.
        device: torch device, such as ``cpu`` or ``cuda:0``.

    Raises:
        PermanentError: one of the classes in ``models.release.errors`` says what is wrong.
    """
    return Ensemble(load_release(release, device=device))
