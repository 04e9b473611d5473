"""The children that a release is made from: a data folder and the split that divides them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models.training.annotations import (
    CHALLENGE_TABLES,
    Annotation,
    AnnotationTable,
    Row,
    TrainingDataError,
    is_challenge_layout,
    read_table,
)
from models.training.archive import MaskFolders, RadiographArchive
from models.training.split import (
    SHARES,
    SPLIT_FILE,
    Part,
    digest_of_split,
    draw_part,
    hash_patient,
    read_split,
)

#: every child of the public data stands in this folder; the others hold some of them again, at
#: native aspect and a higher resolution
SQUASHED = "rsna_299"
NATIVE = ("rsna_half", "rsna_full")


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Labelled radiographs, each child in one part."""

    data: Path  #: folder with a table and the images, in a layout of ``annotations``
    split: Path = SPLIT_FILE
    split_column: str | None = None  #: of a split file that has several
    table: Path | None = None  #: the annotation table, where it lies elsewhere
    masks: tuple[Path, ...] = ()  #: folders with masks of the hands
    columns: tuple[str, ...] = ()  #: more columns of the table, read as ``Annotation.columns``

    @property
    def split_sha256(self) -> str:
        """Digest of the split file."""
        return digest_of_split(self.split)

    @cached_property
    def written(self) -> AnnotationTable:
        """The annotation table, with what is wrong in it.

        Raises:
            NoTrainingDataError: it is not there.
            TrainingDataError: a column is missing.
        """
        return read_table(self.data, table=self.table, columns=self.columns)

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """All labelled radiographs.

        Raises:
            NoTrainingDataError: the annotation table is not there.
            TrainingDataError: rows of it are wrong.
        """
        return self.written.require_sound()

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """Patient hash → part. Children of the challenge that our split lacks are drawn into it."""
        parts = read_split(self.split, column=self.split_column)
        if not is_challenge_layout(self.data) or self.split != SPLIT_FILE:
            return parts
        training, validation = (one.folder for one in CHALLENGE_TABLES)
        drawn = {
            hash_patient(one.patient_id): Part.VALIDATE
            if one.folder == validation
            else draw_part(one.patient_id, SHARES[SQUASHED])
            for one in self.written.rows
            if one.folder in (training, validation)
        }
        return drawn | parts

    def part_of(self, annotation: Annotation | Row) -> Part | None:
        """Return the part of an image's child; None for a child that the split does not know."""
        return self.parts.get(hash_patient(annotation.patient_id))

    @property
    def default_folders(self) -> Collection[str]:
        """The squashed copies where there are any; else all."""
        folders = {one.folder for one in self.written.annotations}
        return (SQUASHED,) if SQUASHED in folders else folders

    def select(self, part: Part, *, folders: Collection[str] = ()) -> list[Annotation]:
        """Return the images of one part in some folders, in the order of the annotation table.

        Raises:
            NoTrainingDataError: the annotation table is not there.
            TrainingDataError: table or split are wrong.
        """
        wanted = folders or self.default_folders
        return [
            one for one in self.annotations if one.folder in wanted and self.part_of(one) is part
        ]

    def open_archive(self) -> RadiographArchive:
        """Return the reader of the images."""
        return RadiographArchive(self.data)

    def open_masks(self) -> MaskFolders:
        """Return the reader of the masks."""
        return MaskFolders(self.masks)


def check_cohort(
    cohort: Cohort, *, folders: Collection[str] = (), use_mask: bool = False
) -> list[Annotation]:
    """Return the images that a run trains and validates with, after all is known to be there.

    Args:
        cohort: the children.
        folders: as in ``Cohort.select``.
        use_mask: every image needs its mask.

    Raises:
        NoTrainingDataError: the annotation table is not there.
        TrainingDataError: names every wrong row, missing image and missing mask, and every part
            that is empty.
    """
    wanted = folders or cohort.default_folders
    parts = (Part.TRAIN, Part.VALIDATE)
    rows = [one for one in cohort.written.rows if one.folder in wanted]
    chosen = [one for one in rows if cohort.part_of(one) in parts]
    found = {cohort.part_of(one) for one in chosen}
    problems = [
        *cohort.written.problems,
        *(
            f"no child is in the part {part.value!r} of {cohort.split.name}"
            for part in parts
            if part not in found
        ),
        *cohort.open_archive().problems_of(chosen),
        *(cohort.open_masks().problems_of(chosen) if use_mask else ()),
    ]
    if problems:
        raise TrainingDataError(path=cohort.written.path, problems=problems)
    return [image for part in parts for image in cohort.select(part, folders=folders)]
