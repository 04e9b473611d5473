"""The boxes round ossification centres that others have drawn on 327 of the children."""

import csv
from collections import defaultdict
from pathlib import Path

#: name, left, top, right, bottom as shares of width and height
Region = tuple[str, float, float, float, float]
#: the bones whose epiphyses are the upper end of the forearm
FOREARM = ("Radius", "Ulna")


def read_boxes(data: Path) -> dict[str, list[Region]]:
    """Return patient → ossification regions; nothing where ``ossification_regions.csv`` lacks."""
    path = data / "ossification_regions.csv"
    found: dict[str, list[Region]] = defaultdict(list)
    if not path.exists():
        return found
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            width, height = float(row["width"]), float(row["height"])
            found[f"rsna_{row['rsna_id']}"].append(
                (
                    row["region"],
                    float(row["xmin"]) / width,
                    float(row["ymin"]) / height,
                    float(row["xmax"]) / width,
                    float(row["ymax"]) / height,
                )
            )
    return found


def wrist_of(regions: list[Region]) -> float | None:
    """Return the share of the height at which radius or ulna begin; None: neither has a box."""
    tops = [top for name, _, top, _, _ in regions if name in FOREARM]
    return min(tops, default=None)
