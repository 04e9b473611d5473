"""`boneage evaluate` for a run that tells classes apart: its tables, pictures and page."""

from pathlib import Path

from worker.cli.output import print_json, print_table, progress_bar, steps_in


def evaluate_classes(
    target: str, *, data: Path | None, limit: int, out: Path | None, as_json: bool
) -> None:
    """Print accuracy and the table of classes; write page, CSV, JSON and pictures to ``out``."""
    from models.evaluation.classes import as_plain, report_classes, write_report
    from models.evaluation.page import read_curves
    from models.evaluation.pictures import draw_classes, draw_curves

    with progress_bar() as bar:
        report = report_classes(target, data=data, limit=limit, progress=steps_in(bar))
    written: list[Path] = []
    if out is not None:
        drawn = draw_classes(report.curves, report.confusion, classes=report.classes)
        if curves := read_curves(Path(target)):
            drawn["curves"] = draw_curves({Path(target).name: curves})
        written = write_report(report, drawn, out)
    if as_json:
        print_json(as_plain(report) | {"written": [str(one) for one in written]})
        return
    print_table(
        ("CLASS", "N", "PRECISION", "RECALL", "F1", "AUROC"),
        [
            (
                row.name,
                str(row.n),
                f"{row.precision:.1%}",
                f"{row.recall:.1%}",
                f"{row.f1:.3f}",
                f"{row.auroc:.3f}",
            )
            for row in report.rows
        ],
        none="Nothing was measured.",
    )
    print(f"Told rightly: {report.accuracy:.1%} of {len(report.paths)} ({report.part}).")
    for path in written:
        print(f"written: {path}")
