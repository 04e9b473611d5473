"""One HTML page that holds a whole evaluation: tables, pictures, words; nothing is fetched."""

import base64
import csv
import math
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from models.evaluation import pictures
from models.evaluation.report import Images, Report
from models.release.card import say_heatmaps

_FOLDER = Path(__file__).parent
_IMAGES = {
    Images.CLINIC: "each at native aspect{} where there is such an image, else 299 by 299 pixels",
    Images.NATIVE: "at native aspect{}",
    Images.SQUASHED: "squashed to 299 by 299 pixels",
}
#: in the names of the metrics whose curves are drawn
_CURVES = ("loss", "mae", "accuracy", "auroc", "f1")
_FROM_FILES = ", read from a DICOM file as the worker reads it,"


def chance_interval(n: int, share: float) -> tuple[float, float]:
    """Return where the share of ``n`` draws lies with a chance of 95 %, by the binomial law."""
    heaped, low, high = 0.0, 0, n
    for count in range(n + 1):
        logarithm = math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)
        logarithm += count * math.log(share) + (n - count) * math.log1p(-share)
        before, heaped = heaped, heaped + math.exp(logarithm)
        if before < 0.025 <= heaped:  # noqa: PLR2004 - half of 5 %
            low = count
        if before < 0.975 <= heaped:  # noqa: PLR2004 - all but half of 5 %
            high = count
    return low / n, high / n


def draw_all(report: Report, *, run: Path | None = None) -> dict[str, bytes]:
    """Return every picture of a report as PNG, by name.

    Args:
        report: what was found.
        run: the folder of the run that was evaluated; its curves are drawn.
    """
    outcomes = report.outcomes
    drawn = {
        "scatter": pictures.draw_scatter(outcomes),
        "bland_altman": pictures.draw_bland_altman(outcomes),
        "error_by_age": pictures.draw_error_by_age(outcomes),
        "coverage": pictures.draw_coverage(outcomes, stated=report.manifest.calibration.coverage),
    }
    if report.by is not None:
        drawn["error_by_group"] = pictures.draw_error_by_group(report.by)
        drawn["scatter_by_group"] = pictures.draw_scatter_by_group(outcomes, report.by)
    if report.chronological is not None:
        drawn["chronological"] = pictures.draw_chronological(
            outcomes, report.chronological, report.by
        )
    for one in report.sex:
        drawn[f"roc_{one.member}"] = pictures.draw_roc(one)
        drawn[f"confusion_{one.member}"] = pictures.draw_confusion(one)
    if run is not None and (curves := read_curves(run)):
        drawn["curves"] = pictures.draw_curves({run.name: curves})
    return drawn


def read_curves(run: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the curves that a run has logged: metric → (pass, value)."""
    path = run / "csv" / "metrics.csv"
    curves: dict[str, dict[float, float]] = {}  # a pass that was cut off and done again counts once
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            for name, text in row.items():
                # a learning rate is logged by step, without its pass
                is_drawn = any(word in name for word in _CURVES) and not name.endswith("_step")
                if text and row["epoch"] and is_drawn:
                    curves.setdefault(name, {})[float(row["epoch"]) + 1] = float(text)
    return {name: list(values.items()) for name, values in curves.items()}


def embedded(drawn: Mapping[str, bytes]) -> dict[str, str]:
    """Return pictures as they stand in a page, base64, by name."""
    return {name: base64.b64encode(one).decode() for name, one in drawn.items()}


def _say_images(report: Report) -> str:
    words = _IMAGES[report.question.images].format(_FROM_FILES if report.are_files else "")
    return words.removesuffix(",")


def template(name: str) -> Template:
    """Return one of the pages here; what is put into it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(name)


def format_page(report: Report, drawn: Mapping[str, bytes]) -> str:
    """Return the page; what stands in it is escaped."""
    stated = report.manifest.calibration.coverage
    return template("page.html").render(
        report=report,
        all=report.rows[0],
        stated=stated,
        bands=[(row, *chance_interval(row.n, stated)) for row in report.bands],
        images_words=_say_images(report),
        members_words=", ".join(one.name for one in report.manifest.members),
        heatmap_words=say_heatmaps(report.heatmaps),
        pictures=embedded(drawn),
    )
