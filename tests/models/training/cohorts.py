"""A data folder of drawn hands, quick to learn."""

import csv
import zipfile
from pathlib import Path

import cv2
import numpy as np

from models.training.cohort import Cohort
from models.training.split import hash_patient
from tests.models.builders import drawn_hand

PARTS = ("train", "train", "calibrate", "test", "validate")
QUICK = ("threads=1", "batch_size=8", "precision=32-true")
CHILDREN = 100
#: Lightning asks for more worker processes and finds deprecated names in torch's own tree
LIGHTNING_WARNINGS = (
    "ignore::UserWarning:lightning",
    "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning",
    "ignore:.*LeafSpec.*",
    "ignore:.*litlogger.*",
)


def write_cohort(folder: Path) -> Cohort:
    """Children whose hands are the brighter the older they are."""
    folder.mkdir()
    rows, parts = [], []
    with zipfile.ZipFile(folder / "rsna_299.zip", "w") as archive:
        for child in range(CHILDREN):
            age = 20 + 2 * child
            hand = np.clip(drawn_hand(80, 70) * (0.4 + age / 250), 0, 255).astype(np.uint8)
            archive.writestr(f"rsna_299/{child}.png", cv2.imencode(".png", hand)[1].tobytes())
            sex = "FM"[child // 2 % 2]
            rows.append([f"{child}.png", "rsna_299", f"child{child}", sex, str(age)])
            parts.append([hash_patient(f"child{child}"), PARTS[child % len(PARTS)]])
    header = ["image_ID", "dir", "patient_ID", "sex", "bone_age"]
    for name, lines in (
        ("annotation.csv", [header, *rows]),
        ("split.csv", [["patient", "part"], *parts]),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(lines)
    return Cohort(data=folder, split=folder / "split.csv")


def write_recipe(folder: Path) -> Path:
    path = folder / "tiny.toml"
    path.write_text(
        'architecture = "resnet10t"\npretrained = false\n'
        "stages = [{ passes = 1, size = 64 }, { passes = 1, size = 96 }]\n",
        encoding="utf-8",
    )
    return path
