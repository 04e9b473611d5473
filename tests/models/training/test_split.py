from collections import Counter, defaultdict
from pathlib import Path

from models.training.annotations import Annotation
from models.training.split import (
    SPLIT_FILE,
    Part,
    assign_parts,
    digest_of_split,
    hash_patient,
    read_split,
    write_split,
)
from schemas.images import Sex


def annotated(patient: int, folder: str = "rsna_299") -> Annotation:
    return Annotation(
        image_id=f"{patient}.webp",
        folder=folder,
        patient_id=f"patient{patient}",
        sex=Sex.FEMALE,
        age_months=100,
    )


def test_the_committed_split_never_changes() -> None:
    assert digest_of_split() == "da06334cbb94ce7363d5370d9104e4a7f37fa95c2eabe270deec1399b4de394f"


def test_the_committed_split_holds_all_parts_in_usable_sizes() -> None:
    counts = Counter(read_split().values())

    assert counts[Part.TRAIN] > 9000
    assert counts[Part.CALIBRATE] > 900
    assert counts[Part.VALIDATE] > 300
    assert counts[Part.TEST] > 1000


def test_the_split_file_names_no_patient() -> None:
    text = SPLIT_FILE.read_text(encoding="utf-8")

    assert "rsna" not in text


def test_a_patient_in_two_folders_is_in_one_part() -> None:
    annotations = [
        annotated(patient, folder) for patient in range(400) for folder in ("rsna_299", "rsna_half")
    ]
    parts = assign_parts(annotations)

    seen = defaultdict(set)
    for part in Part:
        for one in annotations:
            if parts[hash_patient(one.patient_id)] is part:
                seen[one.patient_id].add(part)
    assert len(seen) == 400
    assert all(len(of_patient) == 1 for of_patient in seen.values())


def test_a_new_patient_moves_no_other() -> None:
    before = assign_parts([annotated(patient) for patient in range(300)])
    after = assign_parts([annotated(patient) for patient in range(600)])

    assert before.items() <= after.items()


def test_full_resolution_children_are_for_the_test_alone() -> None:
    parts = assign_parts([annotated(patient, "rsna_full") for patient in range(50)])

    assert set(parts.values()) == {Part.TEST}


def test_a_written_split_reads_back_equal(tmp_path: Path) -> None:
    annotations = [annotated(patient) for patient in range(50)]
    write_split(assign_parts(annotations), tmp_path / "split.csv")

    assert read_split(tmp_path / "split.csv") == assign_parts(annotations)
    assert hash_patient("patient3") in read_split(tmp_path / "split.csv")
