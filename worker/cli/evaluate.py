"""`boneage evaluate`: how good a release or a run is, in tables, pictures and one page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli.evaluate_classes import evaluate_classes
from worker.cli.options import JsonOption, MaskNetworkOption
from worker.cli.output import print_json, print_table, progress_bar, steps_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.evaluation.report import Report
    from schemas.releases import MetricRow


def evaluate(
    target: Annotated[str, typer.Argument(metavar="RELEASE|RUN", help="Name or folder.")],
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Images, table. Default: $BONEAGE_TEST_DATA."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", metavar="FILE", help="The table, where it lies elsewhere."),
    ] = None,
    split_file: Annotated[
        Path | None,
        typer.Option("--split-file", metavar="FILE", help="Which child is in which part."),
    ] = None,
    split: Annotated[
        Literal["train", "validate", "calibrate", "test"],
        typer.Option("--split", help="Part of the split that is read."),
    ] = "test",
    images: Annotated[
        Literal["clinic", "native", "squashed"],
        typer.Option(
            "--images",
            help="clinic: each child once, from a DICOM file of native aspect where there is such "
            "an image; native: those alone; squashed: the copies of 299 by 299.",
        ),
    ] = "clinic",
    tta: Annotated[
        Literal["as-released", "none", "mirror", "five-crops", "rotations-and-flip"],
        typer.Option(
            "--tta",
            help="Views that months are averaged over. as-released: those of the release, or of "
            "the run's recipe (test_augmentation).",
        ),
    ] = "as-released",
    correct_bias: Annotated[
        Literal["none", "overall", "sex"],
        typer.Option(
            "--correct-bias", help="Take off a linear bias, fitted on calibrate and validate."
        ),
    ] = "none",
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=100, max=100_000, help="Resamples of children.")
    ] = 2000,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="At most so many children; 0: all.")
    ] = 0,
    by: Annotated[
        str,
        typer.Option(
            "--by", metavar="COLUMN", help="Error by what a column of the table says: disorder …"
        ),
    ] = "",
    chronological: Annotated[
        str,
        typer.Option(
            "--chronological-age",
            metavar="COLUMN",
            help="Column of the table with ages by the calendar, months: how far bones are ahead.",
        ),
    ] = "",
    mask_network: MaskNetworkOption = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Measure gate, changed images and heatmaps, too: slow."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write page, pictures, CSV and JSON there."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Keeps what the networks said.")
    ] = None,
    device: Annotated[str, typer.Option(help='"cpu", "cuda:0".')] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Measure a release or a run on labelled children it was not trained on.

    Prints the table; --out writes evaluation.html (one page, nothing fetched), predictions.csv,
    evaluation.json and the pictures. A run of classes is asked about DATA/test, or DATA/val.

    Examples: boneage evaluate rsna-2026.1 --robustness --out report

    boneage evaluate runs/lite0 --split validate --tta mirror --limit 200

    boneage evaluate rsna-2026.1 --data clinic --by disorder --chronological-age age --out report
    """
    from models.evaluation.classes import is_class_run

    if is_class_run(target):
        evaluate_classes(target, data=data, limit=limit, out=out, as_json=as_json)
        return
    from models.evaluation.report import Correction, Images, Question, make_report
    from models.evaluation.target import Asking, opened, views_of
    from models.evaluation.writing import as_plain
    from models.training.cohort import Cohort
    from models.training.places import default_data
    from models.training.split import SPLIT_FILE, Part
    from schemas.releases import Averaging
    from worker.inference.round_trip import WorkerDicomPath

    views = views_of(target) if tta == "as-released" else tta
    question = Question(
        part=Part(split),
        images=Images(images),
        limit=limit,
        resamples=bootstrap,
        correction=Correction(correct_bias),
        rotations_and_flip=views == "rotations-and-flip",
        robustness=robustness,
        by=by,
        chronological=chronological,
    )
    chosen = {
        "none": Averaging.NONE,
        "mirror": Averaging.MIRROR,
        "five-crops": Averaging.FIVE_CROPS,
    }
    chosen["rotations-and-flip"] = Averaging.NONE
    with progress_bar() as bar:
        asking = Asking(
            cohort=Cohort(
                data=data or default_data(),
                split=split_file or SPLIT_FILE,
                table=annotations,
                columns=question.columns,
            ),
            averaging=chosen.get(views),
            device=device,
            cache=cache,
            progress=steps_in(bar),
            dicom=WorkerDicomPath(),
            mask_network=mask_network,
        )
        with opened(target, asking) as interview:
            report = make_report(target, interview, question)
    written = _write(report, out, run=Path(target)) if out is not None else ()
    if as_json:
        print_json(as_plain(report) | {"written": [str(one) for one in written]})
        return
    _print(report)
    for path in written:
        print(f"written: {path}")


def _write(report: "Report", out: Path, *, run: Path) -> list[Path]:
    from models.evaluation.page import draw_all, format_page
    from models.evaluation.target import is_run
    from models.evaluation.writing import write_json, write_predictions

    out.mkdir(parents=True, exist_ok=True)
    drawn = draw_all(report, run=run if is_run(run) else None)
    paths = [out / "evaluation.html", out / "evaluation.json", out / "predictions.csv"]
    paths[0].write_text(format_page(report, drawn), encoding="utf-8")
    write_json(report, paths[1])
    write_predictions(report, paths[2])
    for name, picture in drawn.items():
        paths.append(out / f"{name}.png")
        paths[-1].write_bytes(picture)
    return paths


def _print(report: "Report") -> None:
    _print_rows("GROUP", report.rows)
    print()
    _print_rows("NETWORK", report.members)
    if report.by is not None:
        print()
        _print_rows(report.by.column.upper(), report.by.rows)
    print(f"\nPearson's correlation {report.pearson:.3f}. ", end="")
    print(
        f"Always saying their mean age would err by {report.guess_mae_months:.1f} months. ", end=""
    )
    print(f"The gate would refuse {report.answers.refused} of {report.rows[0].n}.")
    if unread := len(report.answers.without_hand):
        print(f"The mask network found no hand in {unread} more, which are not in the tables.")
    for line in report.bias:
        verb = "taken off" if report.is_corrected else "seen"
        print(
            f"Bias {verb} ({ {'*': 'all', 'F': 'girls', 'M': 'boys'}[line.sex] }): "
            f"{line.slope:+.4f} x estimate {line.intercept_months:+.2f} months."
        )
    if report.chronological is not None:
        for ahead in report.chronological.advances:
            print(
                f"Ahead of the calendar ({ahead.group}, {ahead.n}): {ahead.mean_months:+.1f} "
                f"months, standard deviation {ahead.sd_months:.1f}."
            )
    for one in report.sex:
        print(f"Sex by {one.member}: accuracy {one.accuracy:.1%}, AUROC {one.auroc:.3f}, ", end="")
        print(f"F1 {one.f1:.3f}.")
    for row in report.changes:
        print(f"{row.change}: moves by {row.mean_change_months:.2f} months on average")
    print("Research use only, not for diagnosis.")


def _print_rows(title: str, rows: "Sequence[MetricRow]") -> None:
    print_table(
        (title, "N", "MEAN ERROR (95 %)", "RMSE", "WITHIN 6", "12", "24 MO", "COVERAGE"),
        [
            (
                row.group,
                str(row.n),
                f"{row.mae_months:.2f} ({row.mae_low:.2f} to {row.mae_high:.2f}) mo",
                f"{row.rmse_months:.2f} mo",
                f"{row.within_6:.0%}",
                f"{row.within_12:.0%}",
                f"{row.within_24:.0%}",
                f"{row.coverage:.0%}",
            )
            for row in rows
        ],
        none="Nothing was measured.",
    )
