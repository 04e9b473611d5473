"""Ask a release about labelled radiographs, the way serving asks, and keep what it said.

Each member's months are kept by the digest of all that decides them, so that a table, a page and a
release that shares a member do not wait for the same answers twice.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.ensemble import Ensemble
from models.evaluation.dicom_path import DicomPath
from models.evaluation.metrics import Outcomes
from models.evaluation.variants import Variant, as_it_is
from models.hand_mask import NoHandFoundError
from models.training.annotations import Annotation
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


@dataclass(frozen=True, kw_only=True)
class Interview:
    """Asks one release about the images of one cohort."""

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
        verdicts = self._verdicts(annotations, change, variant)
        said = [
            self._months(index, annotations, verdicts, change, variant)
            for index in range(len(self.ensemble.members))
        ]
        has_hand = [bool(one) for one in np.all(np.isfinite(np.stack(said)), axis=0)]
        if not any(has_hand):
            raise NoHandFoundError(probability=0.0)
        read = [child for child, is_there in enumerate(has_hand) if is_there]
        return Answers(
            annotations=tuple(annotations[child] for child in read),
            verdicts=tuple(verdicts[child] for child in read),
            estimates=tuple(
                self.ensemble.combine(
                    annotations[child].sex, [float(months[child]) for months in said]
                )
                for child in read
            ),
            without_hand=tuple(
                one for one, is_there in zip(annotations, has_hand, strict=True) if not is_there
            ),
        )

    def _images(
        self, annotations: Sequence[Annotation], variant: Variant
    ) -> Iterator[NDArray[np.float32]]:
        archive = self.cohort.open_archive()
        for one in annotations:
            stored = archive.read(folder=one.folder, image_id=one.image_id)
            if self.dicom is not None and self._is_file(one, variant):
                yield self.dicom.round_trip(stored)
            else:
                yield variant(stored.astype(np.float32))

    def _is_file(self, one: Annotation, variant: Variant) -> bool:
        """Say whether an image comes as a DICOM file."""
        return self.dicom is not None and one.folder in NATIVE and variant is as_it_is

    def _names(self, annotations: Sequence[Annotation], variant: Variant) -> list[str]:
        """Return what tells the images apart from all others that were asked about."""
        return [
            f"{one.folder}/{one.image_id}/{one.sex.value}"
            + ("/dicom" if self._is_file(one, variant) else "")
            for one in annotations
        ]

    def _verdicts(
        self, annotations: Sequence[Annotation], change: str, variant: Variant
    ) -> list[Verdict]:
        manifest = self.ensemble.manifest
        gate = manifest.gate
        kept = self._kept(
            "verdicts.json",
            manifest.preprocessing.model_dump_json(),
            "" if gate is None else gate.model_dump_json() + manifest.files[gate.file],
            change,
            *self._names(annotations, variant),
        )
        if kept is None or not kept.exists():
            rows: list[tuple[str | None, int, bool]] = []
            for index, pixels in enumerate(self._images(annotations, variant), 1):
                found = self.ensemble.check(pixels)
                rows.append((found.refusal, found.mending.turns, found.mending.is_inverted))
                if index % BATCH == 0 or index == len(annotations):
                    self.progress(f"gate, {change}", index, len(annotations))
            if kept is None:
                return [_verdict(*row) for row in rows]
            _write(kept, json.dumps(rows).encode())
        return [_verdict(*row) for row in json.loads(kept.read_text(encoding="utf-8"))]

    def _months(
        self,
        member: int,
        annotations: Sequence[Annotation],
        verdicts: Sequence[Verdict],
        change: str,
        variant: Variant,
    ) -> NDArray[np.float64]:
        """Return what one member says, ``(child,)``; no number where no hand is found."""
        entry = self.ensemble.members[member].entry
        kept = self._kept(
            "months.npy",
            self.ensemble.manifest.preprocessing.model_dump_json(),
            entry.model_dump_json(exclude=_NOT_DECIDING),
            change,
            repr([one.mending for one in verdicts]),
            *self._names(annotations, variant),
        )
        if kept is not None and kept.exists():
            found: NDArray[np.float64] = np.load(kept)
            return found
        images = self._images(annotations, variant)
        said: list[float] = []
        for first in range(0, len(annotations), BATCH):
            batch = [
                HandImage(pixels=next(images), sexes=(one.sex,), mending=verdict.mending)
                for one, verdict in zip(
                    annotations[first : first + BATCH],
                    verdicts[first : first + BATCH],
                    strict=True,
                )
            ]
            said += self._said(member, batch)
            self.progress(f"{entry.name}, {change}", len(said), len(annotations))
        months = np.array(said)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            beside = kept.with_suffix(".part.npy")
            np.save(beside, months)
            beside.rename(kept)
        return months

    def _said(self, member: int, batch: Sequence[HandImage]) -> list[float]:
        try:
            return [months for (months,) in self.ensemble.member_months(member, batch)]
        except NoHandFoundError:
            if len(batch) == 1:
                return [math.nan]
            return [months for one in batch for months in self._said(member, [one])]

    def _kept(self, kind: str, *deciding: str) -> Path | None:
        """Return where an answer is kept; None: nowhere."""
        if self.cache is None:
            return None
        digest = hashlib.sha256("\n".join(deciding).encode()).hexdigest()
        return self.cache / f"answers-{digest[:20]}-{kind}"


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


def _verdict(refusal: str | None, turns: int, is_inverted: bool) -> Verdict:  # noqa: FBT001 - a row of JSON
    return Verdict(
        refusal=None if refusal is None else RefusalReason(refusal),
        mending=Mending(turns=turns, is_inverted=is_inverted),
    )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_bytes(content)
    beside.rename(path)
