"""`boneage estimate`: one answer for each file, without queue, network or database."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.images import Sex
from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import print_json, print_table, progress_bar

if TYPE_CHECKING:
    from worker.operations.records import Record

SexOption = Annotated[
    Sex | None, typer.Option("--sex", help="What the header does not say; it wins over the header.")
]


def estimate(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", exists=True, dir_okay=False, help="DICOM, PNG, JPEG, WebP or TIFF."
        ),
    ],
    *,
    sex: SexOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write SR, SC, PNG, PDF and HTML there."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help='"cpu", "cuda:0"; default: the first of \\[inference] devices.'),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate the bone age on radiographs of a hand; every file is read, whatever its header says.

    Exit code 1: at least one file was refused. Research use only.

    Examples: boneage estimate hand.dcm; boneage estimate hand.png --sex F --json --out results
    """
    from worker.app import readers
    from worker.operations.estimation import read_file, reading_record, write_objects

    checked = settings(config)
    records: list[Record] = []
    with progress_bar() as bar:
        loading = bar.add_task("Loading the release", total=None)
        reader = readers.image_reader(
            checked,
            installation_id="estimate",
            device=device or checked.inference.devices[0],
        )
        bar.remove_task(loading)
        task = bar.add_task("Reading", total=len(files))
        for path in files:
            reading = read_file(path, reader, sex=sex)
            written = write_objects(reading, out) if out is not None else ()
            record = reading_record(reading) | {"message": reading.message or None}
            records.append(record | ({"written": [str(one) for one in written]} if out else {}))
            bar.advance(task)
    if as_json:
        print_json(records)
    else:
        _print(records)
    if any(record["outcome"] != "estimated" for record in records):
        raise typer.Exit(1)


def _print(records: "list[Record]") -> None:
    columns = ("FILE", "BONE AGE", "INTERVAL", "SEX", "AGE", "Z", "CLASS", "NOTES")
    rows = [row for record in records for row in _rows(record)]
    print_table(columns, rows, none="No files.")
    print("Research use only, not for diagnosis.")


def _rows(record: "Record") -> list[tuple[str, ...]]:
    """Return one line for each estimate: two where the sex is unknown, none is no answer."""
    name = Path(record["file"]).name
    if not record["estimates"]:
        return [(name, "none", "", "", "", "", "", record["message"] or record["reason"] or "")]
    age, z_score = record["chronological_age_months"], record["z_score"]
    notes = ", ".join(record["flags"])
    if len(record["estimates"]) > 1:
        notes = ", ".join(["sex unknown: read as both", *record["flags"]])
    return [
        (
            name,
            f"{one['bone_age_months']:.1f} mo",
            "{:.0f} to {:.0f} mo".format(*one["interval_months"]),
            one["sex"],
            "" if age is None else f"{age:.1f} mo",
            "" if z_score is None else f"{z_score:+.2f}",
            record["class"] or "",
            notes,
        )
        for one in record["estimates"]
    ]
