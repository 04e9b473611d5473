"""The annotation table of a data folder: one row for each image, ages in months.

Two layouts are known. Deeplasia's: a table ``image_ID,dir,patient_ID,sex,bone_age`` beside folders
(or zips) that are named as ``dir`` says. And that of the challenge of 2017 as RSNA and Kaggle give
it out: ``boneage-training-dataset.csv`` (``id,boneage,male``) beside ``boneage-training-dataset/``,
and the validation set beside it.
"""

import csv
import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import PermanentError
from schemas.images import Sex

#: left out by one of the published lists of this data set (data/README.md)
LEFT_OUT = frozenset({"rsna_1435"})

TABLE = "annotation.csv"
COLUMNS = ("image_ID", "dir", "patient_ID", "sex", "bone_age")
#: months; no bone of a hand changes after 20 years
OLDEST_LABEL = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _ChallengeTable:
    """One table of the challenge: its name, its columns, the folder of its images."""

    file: str
    identifier: str
    age: str
    folder: str


CHALLENGE_TABLES = (
    _ChallengeTable(
        file="boneage-training-dataset.csv",
        identifier="id",
        age="boneage",
        folder="boneage-training-dataset",
    ),
    _ChallengeTable(
        file="Bone Age Validation Dataset.csv",
        identifier="Image ID",
        age="Bone Age (months)",
        folder="boneage-validation-dataset",
    ),
)
_MALE = "male"
_SEX_OF_MALE = {"true": "M", "false": "F"}


class NoTrainingDataError(PermanentError):
    """The folder with radiographs is not there, or not complete."""

    code = "train.no_data"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"{path} does not exist. Training and evaluation read annotation.csv and the zips or "
            "folders beside it, or the layout of the RSNA challenge; set BONEAGE_TEST_DATA, or "
            "give --data, to the folder that holds them."
        )


class TrainingDataError(PermanentError):
    """Rows, files or splits are wrong; all of them are named at once."""

    code = "train.data"

    def __init__(self, *, path: Path, problems: Sequence[str]) -> None:
        listed = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(
            f"{path} cannot be used as it stands:\n{listed}\n"
            "Nothing was trained. Mend the rows, put the files there, or take the rows out."
        )
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One labelled radiograph."""

    image_id: str  #: file name inside its folder
    folder: str  #: folder, and name of the zip without ``.zip``
    patient_id: str
    sex: Sex
    age_months: float  #: bone age that a clinical report gave
    #: of the columns that were asked for beside these: name → what is written there
    columns: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as it is written, not yet believed."""

    where: str  #: file and line
    image_id: str
    folder: str
    patient_id: str
    sex: str
    age: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationTable:
    """A table as it is: the rows that can be used, and those that cannot, with the reasons."""

    path: Path
    annotations: tuple[Annotation, ...]
    wrong_rows: tuple[Row, ...] = ()
    problems: tuple[str, ...] = ()  #: at least one for each wrong row

    @property
    def rows(self) -> tuple[Annotation | Row, ...]:
        """All rows: those that can be used, then the wrong ones."""
        return (*self.annotations, *self.wrong_rows)

    def require_sound(self) -> tuple[Annotation, ...]:
        """Return all labelled radiographs.

        Raises:
            TrainingDataError: a row has a wrong sex or age, a value is missing, or an image comes
                twice; every such row is named.
        """
        if self.problems:
            raise TrainingDataError(path=self.path, problems=self.problems)
        return self.annotations


def read_annotations(data: Path, *, table: Path | None = None) -> list[Annotation]:
    """Return all labelled radiographs that may be used, in file order.

    Raises:
        NoTrainingDataError: no table is there.
        TrainingDataError: rows are wrong; every one is named.
    """
    return list(read_table(data, table=table).require_sound())


def read_table(
    data: Path, *, table: Path | None = None, columns: Collection[str] = ()
) -> AnnotationTable:
    """Return the table of a data folder, in file order.

    Args:
        data: folder with one of the two layouts.
        table: an annotation table in Deeplasia's columns that lies elsewhere.
        columns: names of more columns to be read, as text.

    Raises:
        NoTrainingDataError: no table is there.
        TrainingDataError: a column is missing.
    """
    path, rows = _open_rows(data, table, columns)
    annotations: list[Annotation] = []
    wrong_rows: list[Row] = []
    problems: list[str] = []
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if row.patient_id in LEFT_OUT:
            continue
        wrong = _wrong_with(row)
        if (row.folder, row.image_id) in seen:
            wrong.append(f"{row.where}: image {row.image_id!r} in {row.folder!r} comes twice")
        seen.add((row.folder, row.image_id))
        problems += wrong
        if wrong:
            wrong_rows.append(row)
        else:
            annotations.append(
                Annotation(
                    image_id=row.image_id,
                    folder=row.folder,
                    patient_id=row.patient_id,
                    sex=Sex(row.sex),
                    age_months=float(row.age),
                    columns=row.columns,
                )
            )
    return AnnotationTable(
        path=path,
        annotations=tuple(annotations),
        wrong_rows=tuple(wrong_rows),
        problems=tuple(problems),
    )


def is_challenge_layout(data: Path) -> bool:
    """Say whether a folder is laid out as the challenge gives it out."""
    return not (data / TABLE).exists() and any(
        (data / one.file).exists() for one in CHALLENGE_TABLES
    )


def digest_of_annotations(annotations: Sequence[Annotation]) -> str:
    """Return sha256 over ids, sexes and ages, hexadecimal; the order does not matter."""
    lines = sorted(
        f"{one.folder}/{one.image_id},{one.patient_id},{one.sex.value},{one.age_months:.2f}"
        for one in annotations
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _open_rows(
    data: Path, table: Path | None, columns: Collection[str]
) -> tuple[Path, Iterator[Row]]:
    if table is None and is_challenge_layout(data):
        return data, _challenge_rows(data, columns)
    path = table or data / TABLE
    if not path.exists():
        raise NoTrainingDataError(path=path)
    return path, _table_rows(path, columns)


def _table_rows(path: Path, columns: Collection[str]) -> Iterator[Row]:
    for where, row in _lines_of(path, (*COLUMNS, *columns)):
        yield Row(
            where=where,
            image_id=row["image_ID"],
            folder=row["dir"],
            patient_id=row["patient_ID"],
            sex=row["sex"],
            age=row["bone_age"],
            columns={name: row[name] for name in columns},
        )


def _challenge_rows(data: Path, columns: Collection[str]) -> Iterator[Row]:
    for table in CHALLENGE_TABLES:
        path = data / table.file
        if not path.exists():
            continue
        for where, row in _lines_of(path, (table.identifier, table.age, _MALE, *columns)):
            yield Row(
                where=where,
                image_id=f"{row[table.identifier]}.png",
                folder=table.folder,
                patient_id=f"rsna_{row[table.identifier]}",
                sex=_SEX_OF_MALE.get(row[_MALE].lower(), row[_MALE]),
                age=row[table.age],
                columns={name: row[name] for name in columns},
            )


def _lines_of(path: Path, columns: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    reader = open_table(path)
    present = reader.fieldnames or ()
    missing = [name for name in columns if name not in present]
    if missing:
        problems = [f"no column {name}; there are {', '.join(present)}" for name in missing]
        raise TrainingDataError(path=path, problems=problems)
    for number, row in enumerate(reader, start=2):
        texts = {name: (value or "").strip() for name, value in row.items() if name}
        yield f"{path.name} line {number}", texts


def open_table(path: Path) -> "csv.DictReader[str]":
    """Return the rows of a CSV file, its columns parted by commas, semicolons or tabs.

    Raises:
        TrainingDataError: it is not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + error.object[: error.start].count(b"\n")
        problem = f"line {line} is not UTF-8: save the table as CSV in UTF-8"
        raise TrainingDataError(path=path, problems=[problem]) from error
    first = text.partition("\n")[0]
    return csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=first.count))


def _wrong_with(row: Row) -> list[str]:
    problems = []
    if not (row.image_id and row.folder and row.patient_id):
        problems.append(f"{row.where}: image, folder or patient is empty")
    if row.sex not in set(Sex):
        problems.append(f"{row.where}: sex is {row.sex!r}, but only M and F can be used")
    if not _is_age(row.age):
        problems.append(
            f"{row.where}: bone age is {row.age!r}, but only 0 to {OLDEST_LABEL:.0f} months can be"
        )
    return problems


def _is_age(text: str) -> bool:
    try:
        months = float(text)
    except ValueError:
        return False
    return math.isfinite(months) and 0 <= months <= OLDEST_LABEL
