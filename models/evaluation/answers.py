"""Ask a release about labelled radiographs, the way serving asks, and keep what it said.

Each member's months are kept by the digest of all that decides them, image by image, so that a
table, a page and a release that shares a member do not wait for the same answer twice.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ensemble import Ensemble
from models.evaluation.dicom_path import DicomPath
from models.evaluation.kept import KeptAnswers
from models.evaluation.metrics import Outcomes
from models.evaluation.variants import Variant, as_it_is
from models.hand_mask import NoHandFoundError
from models.release.load import LoadedMember
from models.training.annotations import Annotation
from models.training.archive import RadiographArchive
from models.training.cohort import NATIVE, Cohort
from schemas.estimates import BoneAgeEstimate, HandImage, Mending
from schemas.refusals import RefusalReason

BATCH = 16
#: what a manifest says of a member beside what decides its months
_NOT_DECIDING = {"name", "file", "recipe", "validation_mae_months", "training"}

#: told after each batch: what is done, images done, images in all
Progress = Callable[[str, int, int], None]


def ignore_progress(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate said about one image."""

    refusal: RefusalReason | None
    mending: Mending


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a release said, in the order of the annotations.

    Images that the gate would refuse are estimated all the same, so that the error is that of the
    networks; they are counted.
    """

    annotations: tuple[Annotation, ...]
    verdicts: tuple[Verdict, ...]
    estimates: tuple[BoneAgeEstimate, ...]
    #: images in which the mask network found no hand; nothing was said about them
    without_hand: tuple[Annotation, ...] = ()
    #: months of each view that ``estimates`` are the mean of, ``(child,)``; empty: of one alone
    views: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def about(self, positions: Sequence[int]) -> "Answers":
        """Return what was said about some of the images."""
        return replace(
            self,
            annotations=tuple(self.annotations[one] for one in positions),
            verdicts=tuple(self.verdicts[one] for one in positions),
            estimates=tuple(self.estimates[one] for one in positions),
        )

    @property
    def refused(self) -> int:
        """How many images the gate would refuse."""
        return sum(one.refusal is not None for one in self.verdicts)

    @property
    def outcomes(self) -> Outcomes:
        """Labels, estimates and intervals as arrays."""
        return Outcomes(
            sexes=np.array([one.sex.value for one in self.annotations]),
            labels=np.array([one.age_months for one in self.annotations]),
            ages=np.array([one.age_months for one in self.estimates]),
            lows=np.array([one.interval.low_months for one in self.estimates]),
            highs=np.array([one.interval.high_months for one in self.estimates]),
        )

    def member_ages(self) -> dict[str, NDArray[np.float64]]:
        """Return each member's months, ``(child,)``, by its name."""
        names = [one.member for one in self.estimates[0].members]
        return {
            name: np.array([one.members[index].age_months for one in self.estimates])
            for index, name in enumerate(names)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of images that are shown in one way."""

    verdicts: KeptAnswers  #: name of the image → refusal, quarter turns, whether inverted
    months: tuple[KeptAnswers, ...]  #: of each member: name of the image as it is mended → months

    def has(self, name: str, member: int) -> bool:
        """Say whether the gate and one member were asked about an image."""
        return name in self.verdicts and self._mended(name) in self.months[member]

    def has_all(self, name: str) -> bool:
        """Say whether the gate and all members were asked about an image."""
        return name in self.verdicts and all(self._mended(name) in one for one in self.months)

    def verdict(self, name: str) -> Verdict:
        """Return what the gate said."""
        refusal, turns, is_inverted = self.verdicts[name]
        return Verdict(
            refusal=None if refusal is None else RefusalReason(refusal),
            mending=Mending(turns=turns, is_inverted=is_inverted),
        )

    def months_of(self, name: str) -> list[float]:
        """Return what each member said; no number where no hand was found."""
        return [one[self._mended(name)] for one in self.months]

    def keep_months(self, member: int, said: Mapping[str, float]) -> None:
        """Add what one member said, by the names of the images."""
        self.months[member].keep({self._mended(name): months for name, months in said.items()})

    def _mended(self, name: str) -> str:
        _, turns, is_inverted = self.verdicts[name]
        return f"{name}/{turns}{'/inverted' if is_inverted else ''}"


@dataclass(frozen=True, kw_only=True)
class Interview:
    """Asks one release about the images of one cohort, about each of them once.

    An image is read once for the gate and all members. With a cache, it does not matter who asked
    about it first, among which others, and in which order.
    """

    ensemble: Ensemble
    cohort: Cohort
    cache: Path | None = None  #: folder that keeps months and verdicts
    progress: Progress = field(default=ignore_progress)
    #: pictures of native aspect come as DICOM files, read so; None: they are read as decoded
    dicom: DicomPath | None = None

    def ask(
        self,
        annotations: Sequence[Annotation],
        *,
        change: str = "as it is",
        variant: Variant = as_it_is,
    ) -> Answers:
        """Return what the release says about labelled radiographs.

        Args:
            annotations: which ones; at least one.
            change: names the variant.
            variant: what is done to each image first; a changed one does not come as a file.

        Raises:
            NoTrainingDataError: an image is not there.
            NoHandFoundError: members want the hand alone, and it is found in no image at all.
        """
        known = self._known(change)
        names = [self._name(one, variant) for one in annotations]
        self._ask_what_is_missing(annotations, known, change, variant)
        said = [known.months_of(name) for name in names]
        has_hand = [all(map(math.isfinite, months)) for months in said]
        read = [child for child, is_there in enumerate(has_hand) if is_there]
        if not read:
            raise NoHandFoundError(probability=0.0)
        return Answers(
            annotations=tuple(annotations[child] for child in read),
            verdicts=tuple(known.verdict(names[child]) for child in read),
            estimates=tuple(
                self.ensemble.combine(annotations[child].sex, said[child]) for child in read
            ),
            without_hand=tuple(
                one for one, is_there in zip(annotations, has_hand, strict=True) if not is_there
            ),
        )

    def remembered(
        self,
        what: str,
        deciding: Sequence[str],
        find: Callable[[], Any],
        *,
        by_networks: bool = False,
    ) -> Any:  # noqa: ANN401 - plain values, as JSON has them
        """Return what was found with the gate, or with the networks; find it once.

        Args:
            what: names it.
            deciding: all that decides it beside the release: what it is found on.
            find: finds it; plain values, as JSON has them.
            by_networks: the members decide it, too.
        """
        members = map(_deciding, self.ensemble.members) if by_networks else ()
        kept = KeptAnswers(self.cache, "measures", *self._deciding_gate, *members, what, *deciding)
        if what not in kept:
            kept.keep({what: find()})
        return kept[what]

    def name_of(self, one: Annotation) -> str:
        """Return what tells an image apart from all others, read as decoded."""
        return f"{one.folder}/{one.image_id}/{one.sex.value}"

    def _name(self, one: Annotation, variant: Variant) -> str:
        return self.name_of(one) + ("/dicom" if self._is_file(one, variant) else "")

    def _is_file(self, one: Annotation, variant: Variant) -> bool:
        """Say whether an image comes as a DICOM file."""
        return self.dicom is not None and one.folder in NATIVE and variant is as_it_is

    @property
    def _deciding_gate(self) -> tuple[str, str]:
        manifest = self.ensemble.manifest
        gate = manifest.gate
        return (
            manifest.preprocessing.model_dump_json(),
            "" if gate is None else gate.model_dump_json() + manifest.files[gate.file],
        )

    def _known(self, change: str) -> _Known:
        manifest = self.ensemble.manifest
        mask = manifest.mask
        reading = (
            manifest.preprocessing.model_dump_json(),
            "" if mask is None else mask.model_dump_json() + manifest.files[mask.file],
        )
        return _Known(
            verdicts=KeptAnswers(self.cache, "verdicts", *self._deciding_gate, change),
            months=tuple(
                KeptAnswers(self.cache, "months", *reading, _deciding(member), change)
                for member in self.ensemble.members
            ),
        )

    def _ask_what_is_missing(
        self, annotations: Sequence[Annotation], known: _Known, change: str, variant: Variant
    ) -> None:
        """Read each image that something is not known of, and ask those who were not asked."""
        archive = self.cohort.open_archive()
        missing = [one for one in annotations if not known.has_all(self._name(one, variant))]
        for first in range(0, len(missing), BATCH):
            images: dict[str, HandImage] = {}
            for one in missing[first : first + BATCH]:
                name = self._name(one, variant)
                pixels = self._pixels(archive, one, variant)
                if name not in known.verdicts:
                    found = self.ensemble.judge(pixels)
                    row = (found.refusal, found.mending.turns, found.mending.is_inverted)
                    known.verdicts.keep({name: row})
                mending = known.verdict(name).mending
                images[name] = HandImage(pixels=pixels, sexes=(one.sex,), mending=mending)
            for member in range(len(self.ensemble.members)):
                asked = {name: one for name, one in images.items() if not known.has(name, member)}
                months = self._said(member, list(asked.values()))
                known.keep_months(member, dict(zip(asked, months, strict=True)))
            self.progress(f"hands, {change}", min(first + BATCH, len(missing)), len(missing))

    def _pixels(
        self, archive: RadiographArchive, one: Annotation, variant: Variant
    ) -> NDArray[np.float32]:
        stored = archive.read(folder=one.folder, image_id=one.image_id)
        if self.dicom is not None and self._is_file(one, variant):
            return self.dicom.round_trip(stored)
        return variant(stored.astype(np.float32))

    def _said(self, member: int, batch: Sequence[HandImage]) -> list[float]:
        try:
            return [months for (months,) in self.ensemble.member_months(member, batch)]
        except NoHandFoundError:
            if len(batch) == 1:
                return [math.nan]
            return [months for one in batch for months in self._said(member, [one])]


def _deciding(member: LoadedMember) -> str:
    """Return all that a manifest says of a member and that decides its months."""
    return member.entry.model_dump_json(exclude=_NOT_DECIDING)


def shared(asked: Sequence[Answers]) -> list[Answers]:
    """Return several answers, each about the images alone that all of them are about."""
    places = [
        {(one.folder, one.image_id): place for place, one in enumerate(answers.annotations)}
        for answers in asked
    ]
    common = [name for name in places[0] if all(name in one for one in places)]
    return [
        answers.about([found[name] for name in common])
        for answers, found in zip(asked, places, strict=True)
    ]
