"""Tables, splits and files: what is read, and how everything wrong is named at once."""

import csv
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.training.annotations import Annotation, TrainingDataError, read_annotations
from models.training.archive import UnreadableImageError
from models.training.cohort import Cohort, check_cohort
from models.training.split import EIGHTHS, Part, hash_patient, read_split, stratify, write_split
from schemas.images import Sex

TWO = (("1.png", "rsna", 1, "M", 100), ("2.png", "rsna", 2, "F", 50))
HEADER = ("image_ID", "dir", "patient_ID", "sex", "bone_age")


def write_table(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows(rows)
    return path


def write_image(path: Path, depth: type[np.unsignedinteger] = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, np.iinfo(depth).max, 400).reshape(20, 20).astype(depth)
    cv2.imwrite(str(path), ramp)


def deeplasia_folder(folder: Path, rows: Sequence[Sequence[object]]) -> Cohort:
    write_table(folder / "annotation.csv", [HEADER, *rows])
    split = [("patient_ID", "dir", "fold"), *[(r[2], r[1], "train") for r in rows[:-1]]]
    write_table(folder / "split.csv", [*split, (rows[-1][2], rows[-1][1], "val")])
    return Cohort(data=folder, split=folder / "split.csv")


def test_a_folder_in_deeplasias_layout_is_read(tmp_path: Path) -> None:
    cohort = deeplasia_folder(tmp_path, TWO)
    for name in ("1.png", "2.png"):
        write_image(tmp_path / "rsna" / name)

    chosen = check_cohort(cohort)

    assert [(one.patient_id, one.sex, one.age_months) for one in chosen] == [
        ("1", Sex.MALE, 100.0),
        ("2", Sex.FEMALE, 50.0),
    ]
    assert cohort.open_archive().read(folder="rsna", image_id="1.png").shape == (20, 20)


def test_every_bad_row_is_named_at_once(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "annotation.csv",
        [
            HEADER,
            ("1.png", "rsna", "1", "X", "100"),
            ("2.png", "rsna", "2", "F", "many"),
            ("3.png", "rsna", "3", "F", "900"),
            ("", "rsna", "4", "F", "90"),
            ("5.png", "rsna", "5", "M", "90"),
            ("5.png", "rsna", "5", "M", "90"),
        ],
    )

    with pytest.raises(TrainingDataError) as raised:
        read_annotations(tmp_path)

    said = str(raised.value)
    assert len(raised.value.problems) == 5
    for words in ("line 2: sex is 'X'", "line 3: bone age is 'many'", "line 4: bone age is '900'"):
        assert words in said
    assert "line 5: image, folder or patient is empty" in said
    assert "line 7: image '5.png' in 'rsna' comes twice" in said
    assert str(table) in said


def test_every_missing_image_and_mask_is_named_at_once(tmp_path: Path) -> None:
    rows = [(f"{number}.png", "rsna", number, "M", 100) for number in range(4)]
    deeplasia_folder(tmp_path, rows)
    write_image(tmp_path / "rsna" / "0.png")
    write_image(tmp_path / "masks" / "1.png")
    cohort = Cohort(data=tmp_path, split=tmp_path / "split.csv", masks=(tmp_path / "masks",))

    with pytest.raises(TrainingDataError) as raised:
        check_cohort(cohort, use_mask=True)

    assert set(raised.value.problems) == {
        *(f"missing image: rsna/{number}.png" for number in (1, 2, 3)),
        *(f"missing mask: {number}.png" for number in (0, 2, 3)),
    }


def test_wrong_rows_and_missing_files_are_named_together(tmp_path: Path) -> None:
    rows = [("0.png", "rsna", 0, "X", 100), ("1.png", "rsna", 1, "M", 100)]
    rows += [("2.png", "gone", 2, "F", 100), ("3.png", "gone", 3, "F", 100)]
    deeplasia_folder(tmp_path, rows)
    (tmp_path / "rsna").mkdir()
    masks = (tmp_path / "masks",)
    cohort = Cohort(data=tmp_path, split=tmp_path / "split.csv", masks=masks)

    with pytest.raises(TrainingDataError) as raised:
        check_cohort(cohort, use_mask=True)

    assert raised.value.problems == (
        "annotation.csv line 2: sex is 'X', but only M and F can be used",
        "missing image: rsna/1.png",
        "missing image: rsna/0.png",
        "there is no folder gone, and no gone.zip, for 2 images",
        f"there is no folder of masks {masks[0]}",
    )


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "annotation.csv", [("image_ID", "dir"), ("1.png", "rsna")])

    with pytest.raises(TrainingDataError, match="no column patient_ID"):
        read_annotations(tmp_path)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_is_read_as_a_spreadsheet_writes_it(mark: str, tmp_path: Path) -> None:
    lines = [mark.join(map(str, row)) for row in (HEADER, *TWO)]
    (tmp_path / "annotation.csv").write_bytes("\r\n".join(lines).encode("utf-8-sig"))

    assert [one.age_months for one in read_annotations(tmp_path)] == [100.0, 50.0]


def test_a_table_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    text = ",".join(HEADER) + "\nJosé.png,rsna,1,M,100\n"
    (tmp_path / "annotation.csv").write_bytes(text.encode("latin-1"))

    with pytest.raises(TrainingDataError, match=r"annotation\.csv.*\n.*line 2 is not UTF-8"):
        read_annotations(tmp_path)


def test_a_zip_that_is_cut_off_is_named(tmp_path: Path) -> None:
    cohort = deeplasia_folder(tmp_path, TWO)
    with zipfile.ZipFile(tmp_path / "rsna.zip", "w") as archive:
        archive.writestr("rsna/1.png", bytes(4000))
    whole = (tmp_path / "rsna.zip").read_bytes()
    (tmp_path / "rsna.zip").write_bytes(whole[:2000])

    with pytest.raises(TrainingDataError, match=r"rsna\.zip.*\n.*cut off: fetch it again"):
        check_cohort(cohort)


def test_a_picture_that_is_spoilt_inside_its_zip_is_named(tmp_path: Path) -> None:
    cohort = deeplasia_folder(tmp_path, TWO)
    with zipfile.ZipFile(tmp_path / "rsna.zip", "w") as archive:
        archive.writestr("rsna/1.png", bytes(4000))
    spoilt = bytearray((tmp_path / "rsna.zip").read_bytes())
    spoilt[1000] = 1
    (tmp_path / "rsna.zip").write_bytes(spoilt)

    with pytest.raises(UnreadableImageError, match=r"rsna/1\.png"):
        cohort.open_archive().read(folder="rsna", image_id="1.png")


def test_the_layout_of_the_challenge_is_read(tmp_path: Path) -> None:
    write_table(
        tmp_path / "boneage-training-dataset.csv",
        [
            ("id", "boneage", "male"),
            (1377, 180, "False"),
            (1378, 12, "True"),
            (9999999, 24, "True"),
        ],
    )
    write_image(tmp_path / "boneage-training-dataset" / "boneage-training-dataset" / "1377.png")
    cohort = Cohort(data=tmp_path)

    first, second, _ = cohort.annotations
    assert (first.patient_id, first.sex, first.age_months) == ("rsna_1377", Sex.FEMALE, 180.0)
    assert second.sex is Sex.MALE
    assert cohort.open_archive().problems_of([first, second]) == [
        "missing image: boneage-training-dataset/1378.png"
    ]


def test_children_of_the_challenge_stay_in_the_part_that_the_release_had_them_in(
    tmp_path: Path,
) -> None:
    write_table(
        tmp_path / "boneage-training-dataset.csv",
        [("id", "boneage", "male"), *((number, 100, "True") for number in range(1377, 1477))],
    )
    cohort, committed = Cohort(data=tmp_path), read_split()

    for one in cohort.annotations:
        known = committed.get(hash_patient(one.patient_id))
        assert cohort.part_of(one) is (known or cohort.part_of(one))
    assert all(cohort.part_of(one) is not None for one in cohort.annotations)


def test_a_split_file_with_several_columns_asks_which(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "split.csv",
        [("patient_ID", "dir", "fold_a", "fold_b"), (1, "rsna", "train", "test")],
    )

    with pytest.raises(TrainingDataError, match="--split-column, one of fold_a, fold_b"):
        read_split(path)
    assert read_split(path, column="fold_b") == {hash_patient("1"): Part.TEST}


def test_a_split_file_names_each_unknown_part_and_each_patient_in_two(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "split.csv",
        [("patient_ID", "fold"), (1, "train"), (1, "test"), (2, "practice")],
    )

    with pytest.raises(TrainingDataError) as raised:
        read_split(path)

    assert "line 3: the patient stands in train and in test" in str(raised.value)
    assert "line 4: part 'practice' is none of" in str(raised.value)


def test_a_split_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"mine\.csv[^\n]*\n.*no such split file"):
        _ = Cohort(data=tmp_path, split=tmp_path / "mine.csv").parts


def test_a_stratified_split_has_the_same_mix_in_each_part(tmp_path: Path) -> None:
    annotations = [
        Annotation(
            image_id=f"{number}.png",
            folder="mine",
            patient_id=str(number),
            sex=Sex.MALE if number % 4 else Sex.FEMALE,
            age_months=float(number % 200),
        )
        for number in range(1600)
    ]
    write_split(stratify(annotations, shares=EIGHTHS), tmp_path / "split.csv")
    cohort_parts = read_split(tmp_path / "split.csv")

    sizes = Counter(cohort_parts.values())
    assert sizes[Part.TRAIN] == pytest.approx(1000, abs=40)
    for part in Part:
        ours = [one for one in annotations if cohort_parts[hash_patient(one.patient_id)] is part]
        girls = sum(one.sex is Sex.FEMALE for one in ours) / len(ours)
        assert girls == pytest.approx(0.25, abs=0.03)
        assert np.mean([one.age_months for one in ours]) == pytest.approx(99.5, abs=4)


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path) -> None:
    cohort = deeplasia_folder(tmp_path, TWO)
    write_image(tmp_path / "rsna" / "1.png", np.uint16)

    assert cohort.open_archive().read(folder="rsna", image_id="1.png").max() == 65535


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    cohort = deeplasia_folder(tmp_path, TWO)
    write_image(tmp_path / "rsna" / "1.png")
    whole = (tmp_path / "rsna" / "1.png").read_bytes()
    (tmp_path / "rsna" / "1.png").write_bytes(whole[:20])

    with pytest.raises(UnreadableImageError, match=r"1\.png is no picture"):
        cohort.open_archive().read(folder="rsna", image_id="1.png")
