"""What was found, as JSON for machines and as a CSV of every prediction."""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.evaluation.report import Report


def as_plain(report: Report) -> dict[str, Any]:
    """Return all figures as plain values, for JSON."""
    return {
        "target": report.target,
        "release": report.manifest.name,
        "part": report.question.part.value,
        "images": report.question.images.value,
        "native_read_from": "DICOM files" if report.are_files else "pictures",
        "pearson": round(report.pearson, 4),
        "guess_mae_months": round(report.guess_mae_months, 2),
        "refused_by_gate": report.answers.refused,
        "without_hand": [f"{one.folder}/{one.image_id}" for one in report.answers.without_hand],
        "ways": [asdict(one) for one in report.ways],
        "is_corrected": report.is_corrected,
        "bias": [asdict(one) for one in report.bias],
        "groups": [one.model_dump() for one in report.rows],
        "members": [one.model_dump() for one in report.members],
        "bands": [one.model_dump() for one in report.bands],
        "sex": [asdict(one) for one in report.sex],
        "by": _groups(report),
        "chronological": _advances(report),
        "gate": [one.model_dump() for one in report.gate],
        "changes": [one.model_dump() for one in report.changes],
        "heatmaps": report.heatmaps.model_dump() if report.heatmaps else None,
    }


def _groups(report: Report) -> dict[str, Any] | None:
    if report.by is None:
        return None
    return {"column": report.by.column, "groups": [one.model_dump() for one in report.by.rows]}


def _advances(report: Report) -> dict[str, Any] | None:
    if report.chronological is None:
        return None
    advances = [asdict(one) for one in report.chronological.advances]
    return {"column": report.chronological.column, "advances": advances}


def write_json(report: Report, path: Path) -> None:
    """Write all figures."""
    path.write_text(json.dumps(as_plain(report), indent=1) + "\n", encoding="utf-8")


def write_predictions(report: Report, path: Path) -> None:
    """Write one line for each image: label, estimate, interval, members, what the gate said.

    Where months were averaged over views, what was said to each view stands in a column of its own;
    columns of the table that the question names come last.
    """
    more = report.question.columns
    ages = report.answers.member_ages()
    header = ["image_ID", "dir", "patient_ID", "sex", "bone_age", "estimate", "low", "high"]
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        views = report.answers.views
        writer.writerow([*header, *ages, "refusal", "turned_by", "inverted", *views, *more])
        for index, one in enumerate(report.answers.annotations):
            verdict = report.answers.verdicts[index]
            numbers = (
                report.outcomes.ages[index],
                report.outcomes.lows[index],
                report.outcomes.highs[index],
                *(months[index] for months in ages.values()),
            )
            writer.writerow(
                [
                    one.image_id,
                    one.folder,
                    one.patient_id,
                    one.sex.value,
                    f"{one.age_months:g}",
                    *(f"{number:.2f}" for number in numbers),
                    verdict.refusal.value if verdict.refusal else "",
                    90 * verdict.mending.turns,
                    int(verdict.mending.is_inverted),
                    *(f"{months[index]:.2f}" for months in views.values()),
                    *(one.columns[name] for name in more),
                ]
            )
