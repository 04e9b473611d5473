"""The children that a release is made from: a data folder and the split that divides them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from models.training.annotations import Annotation, RadiographArchive, read_annotations
from models.training.split import SPLIT_FILE, Part, digest_of_split, read_split, select

#: every child of the public data stands in this folder; the others hold some of them again, at
#: native aspect and a higher resolution
SQUASHED = "rsna_299"
NATIVE = ("rsna_half", "rsna_full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Labelled radiographs, each child in one part."""

    data: Path  #: folder with ``annotation.csv`` and the zips
    split: Path = SPLIT_FILE

    @property
    def split_sha256(self) -> str:
        """Digest of the split file."""
        return digest_of_split(self.split)

    def select(self, part: Part, *, folders: Collection[str] = (SQUASHED,)) -> list[Annotation]:
        """Return the images of one part in some folders, in the order of the annotation table.

        Raises:
            NoTrainingDataError: the annotation table is not there.
        """
        chosen = select(read_annotations(self.data), part, read_split(self.split))
        return [one for one in chosen if one.folder in folders]

    def open_archive(self) -> RadiographArchive:
        """Return the reader of the zips."""
        return RadiographArchive(self.data)
