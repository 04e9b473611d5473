"""An ``Estimator``: the members of a release in, one ``BoneAgeEstimate`` for each sex out."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.asking import (
    Answer,
    MemberReading,
    Prepared,
    ask_compiled,
    ask_member,
    empty_of,
    months_of,
    place,
    say,
    sex_input,
)
from models.calibration import interval_of
from models.device_faults import device_faults
from models.engines.openvino import OpenVinoMember
from models.foreign_preprocessing import Grey
from models.gate.judge import judge_contents, judge_form
from models.gate.mending import mended, turned_back
from models.gate.trained import TrainedGate
from models.hand_mask import NoHandFoundError, choose_hand, hand_probability
from models.member_input import MemberInput, Picture
from models.networks import BoneAgeNetwork
from models.phantom import is_phantom
from models.release.load import LoadedMember, LoadedRelease, load_release
from models.saliency import outline_peak
from schemas.errors import PermanentError
from schemas.estimates import (
    NOTHING_TO_MEND,
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
from schemas.releases import Manifest

#: standard deviation over the members, in months, from which on a flag is set
DISAGREEMENT_MONTHS = 6.0
#: distance to the youngest or oldest training label that sets a flag, months
NEAR_LIMIT_MONTHS = 6.0

#: an image, and what each member is given of it
_Inputs = tuple[Picture, tuple[tuple[MemberInput, ...], ...]]


class NoSexGivenError(PermanentError):
    """An image came without a sex to read it as; the caller asks for both, never for none."""

    code = "estimate.no_sex"

    def __init__(self) -> None:
        super().__init__(
            "No sex was given to read the image as. Nothing was predicted. "
            "Ask for both sexes where the header does not say."
        )


class Ensemble:
    """The networks of one release, asked together. Satisfies ``schemas.estimates.Estimator``."""

    def __init__(
        self,
        release: LoadedRelease,
        *,
        compiled: Sequence[OpenVinoMember] | None = None,
        empty_maps: Sequence[Tensor | None] = (),
    ) -> None:
        """Join what is needed.

        Args:
            release: verified and loaded.
            compiled: the members in another engine, in order; None: PyTorch runs them.
            empty_maps: their maps of an empty exposure, where they are known already.
        """
        self._loaded = release
        self._manifest = release.manifest
        self._rule = release.manifest.preprocessing
        self._compiled = compiled
        self._beside = ThreadPoolExecutor(thread_name_prefix="prepare")
        self.empty_maps = tuple(
            empty_maps or (empty_of(member, self._rule) for member in release.members)
        )

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

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self._loaded.device

    @property
    def gate(self) -> TrainedGate | None:
        """What says whether an image may be read, if the release has it."""
        return self._loaded.gate

    def compiled_by(
        self, members: Sequence[OpenVinoMember], *, gate: TrainedGate | None
    ) -> "Ensemble":
        """Return the same release, its members and its gate in another engine."""
        loaded = replace(self._loaded, gate=gate)
        return Ensemble(loaded, compiled=members, empty_maps=self.empty_maps)

    def with_manifest(self, manifest: Manifest) -> "Ensemble":
        """Return the same networks, asked as another manifest says."""
        members = tuple(
            replace(one, entry=entry)
            for one, entry in zip(self.members, manifest.members, strict=True)
        )
        return Ensemble(replace(self._loaded, manifest=manifest, members=members))

    def member_sex(self, member: int, images: Sequence[HandImage]) -> tuple[float, ...] | None:
        """Return how a member judges the sex of each image, logarithms of odds; above 0: a boy.

        ``None`` where it does not predict the sex.
        """
        asked = self.members[member]
        if not isinstance(asked.network, BoneAgeNetwork) or not images:
            return None
        views = [one.views_for(asked.entry)[0] for one in self._pictures(images)]
        inputs = torch.stack([one.values for one in views]).to(self._loaded.device)
        sexes = sex_input([one.sexes[0] for one in images], device=inputs.device)
        with torch.no_grad():
            said = asked.network.outputs(asked.network.features(inputs), sexes).sex_logit
        return None if said is None else tuple(said.tolist())

    def check(self, pixels: NDArray[np.float32]) -> GateVerdict:
        """Say whether these pixels, ``(rows, columns)``, bone bright, may be read.

        The constancy phantom whose digest the manifest pins passes in any case, with its flag.
        Nearly every image passes as it lies: while the gate looks, it is prepared for the members.
        """
        early = self._judge_early(pixels)
        if early is not None:
            return early
        begun = self._begin(pixels)
        verdict = judge_contents(pixels, rule=self._rule, gate=self._loaded.gate)
        is_as_it_lies = verdict.refusal is None and verdict.mending == NOTHING_TO_MEND
        return replace(verdict, begun=begun) if is_as_it_lies else verdict

    def judge(self, pixels: NDArray[np.float32]) -> GateVerdict:
        """Say the same as ``check`` where nothing is to be read: nothing is prepared or kept."""
        return self._judge_early(pixels) or judge_contents(
            pixels, rule=self._rule, gate=self._loaded.gate
        )

    def _judge_early(self, pixels: NDArray[np.float32]) -> GateVerdict | None:
        """Return the verdict that needs no look at the picture, if there is one."""
        if is_phantom(pixels, digest=self._manifest.phantom.digest):
            return GateVerdict(refusal=None, flags=(QualityFlag.PHANTOM,))
        return judge_form(pixels)

    def _begin(self, pixels: NDArray[np.float32]) -> "Future[_Inputs] | None":
        """Prepare in another thread what is to be read as it lies; what fails says so later."""
        if self._loaded.mask is not None:  # whether it is asked is not known yet
            return None
        return self._beside.submit(lambda: self._inputs(Picture(pixels, rule=self._rule)))

    def _inputs(self, picture: Picture) -> "_Inputs":
        return picture, tuple(picture.views_for(member.entry) for member in self.members)

    def read(self, images: Sequence[HandImage]) -> list[Reading]:
        """Return a reading for each image, in order; one forward pass for each member.

        Raises:
            FlatImageError: an image is almost uniform (``check`` refuses it before).
            NoHandFoundError: a member wants the hand alone, and none is found.
            NoSexGivenError: an image names no sex to read it as.
        """
        prepared = [self.prepare(image) for image in images]
        return [
            self.finish(one, answer)
            for one, answer in zip(prepared, self.ask(prepared), strict=True)
        ]

    @device_faults()
    def prepare(self, image: HandImage) -> Prepared:
        """Return an image ready for ``ask``: all that needs no network but that of the mask.

        May be called from several threads at once. Raises as ``read``.
        """
        started = time.perf_counter()
        if not image.sexes:
            raise NoSexGivenError
        begun: Future[_Inputs] | None = image.begun
        picture, views = begun.result() if begun else self._inputs(self._picture(image))
        milliseconds = 1000 * (time.perf_counter() - started)
        return Prepared(image=image, picture=picture, views=views, milliseconds=milliseconds)

    @device_faults()
    def ask(self, prepared: Sequence[Prepared]) -> list[Answer]:
        """Return what the networks say to each image, in order; one forward pass for each member.

        Raises:
            DeviceError: the device is in doubt.
            MemoryError: it has no memory for so many images.
        """
        if not prepared:
            return []
        started = time.perf_counter()
        sexes = [one.image.sexes for one in prepared]
        given = [[one.views[member] for one in prepared] for member in range(len(self.members))]
        if self._compiled is not None:
            asked = tuple(
                ask_compiled(member, views, sexes)
                for member, views in zip(self._compiled, given, strict=True)
            )
        else:
            asked = tuple(
                ask_member(member, views, sexes, device=self._loaded.device, empty=empty)
                for member, views, empty in zip(self.members, given, self.empty_maps, strict=True)
            )
        milliseconds = 1000 * (time.perf_counter() - started) / len(prepared)
        return [
            Answer(asked=asked, index=index, milliseconds=milliseconds)
            for index in range(len(prepared))
        ]

    def finish(self, prepared: Prepared, answer: Answer) -> Reading:
        """Return the reading of one image: estimates, heatmap, outline; asks no network.

        May be called from several threads at once.
        """
        timings = {"preprocess": prepared.milliseconds, "networks": answer.milliseconds}
        asked = [(one, answer.index) for one in answer.asked]
        return self._combine(prepared.image, prepared.picture, asked, timings)

    def estimate(self, images: Sequence[HandImage]) -> list[BoneAgeEstimate]:
        """Return the estimates alone, without heatmaps: every image, every sex, in order.

        Raises:
            FlatImageError: an image is almost uniform.
            NoSexGivenError: an image names no sex to read it as.
        """
        said = [self.member_months(index, images) for index in range(len(self.members))]
        return [
            self.combine(sex, [one[index][position] for one in said])
            for index, image in enumerate(images)
            for position, sex in enumerate(image.sexes)
        ]

    def member_months(
        self, member: int, images: Sequence[HandImage]
    ) -> tuple[tuple[float, ...], ...]:
        """Return what one member alone says: for each image, for each of its sexes, months.

        Raises:
            FlatImageError: an image is almost uniform.
            NoSexGivenError: an image names no sex to read it as.
        """
        if not images:
            return ()
        asked = self.members[member]
        given = [one.views_for(asked.entry) for one in self._pictures(images)]
        sexes = [image.sexes for image in images]
        said = say(asked, given, sexes, device=self._loaded.device)
        return months_of(said, sexes)

    @property
    def members(self) -> tuple[LoadedMember, ...]:
        """The networks with their entries in the manifest."""
        return self._loaded.members

    def _pictures(self, images: Sequence[HandImage]) -> list[Picture]:
        """Return the images, mended, ready to be prepared for each member.

        Raises:
            NoSexGivenError: an image names no sex to read it as.
        """
        if not all(image.sexes for image in images):
            raise NoSexGivenError
        return [self._picture(image) for image in images]

    def _picture(self, image: HandImage) -> Picture:
        """Return an image, mended, ready to be prepared for each member."""
        pixels = mended(image.pixels, image.mending)
        network, entry = self._loaded.mask, self._manifest.mask
        if network is None or entry is None:
            return Picture(pixels, rule=self._rule)

        def find_hand(grey: Grey) -> NDArray[np.bool_]:
            if image.is_whole:
                return np.ones(grey.shape, dtype=np.bool_)
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
        picture: Picture,
        asked: Sequence[tuple[MemberReading, int]],
        timings_ms: dict[str, float],
    ) -> Reading:
        started = time.perf_counter()
        rows, columns = image.pixels.shape
        estimates = tuple(
            self.combine(sex, [one.months[index][position] for one, index in asked])
            for position, sex in enumerate(image.sexes)
        )
        placed = [place(one, index, picture=picture) for one, index in asked]
        fields = np.asarray(np.mean(placed, axis=0), dtype=np.float32)
        heatmap = Heatmap(
            months=turned_back(picture.fields_as_it_lay(fields), image.mending),
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
            mask_used=None if self._manifest.mask is None else not image.is_whole,
        )

    def combine(self, sex: Sex, months: Sequence[float]) -> BoneAgeEstimate:
        """Return the estimate that the members' months make, one of each, in order."""
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


def load_estimator(release: str | Path, *, device: str = "cpu") -> Ensemble:
    """Return the verified release as an ``Estimator``.

    Args:
        release: its name in ``models/releases``, or the path of its folder.
        device: torch device, such as ``cpu`` or ``cuda:0``.

    Raises:
        PermanentError: one of the classes in ``models.release.errors`` says what is wrong.
    """
    return Ensemble(load_release(release, device=device))
