"""`boneage demo`: the whole loop on this machine, with an embedded PACS."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.jobs import Outcome
from worker.cli.estimate import SexOption
from worker.cli.options import ConfigOption, settings
from worker.cli.output import console, print_facts, progress_bar

if TYPE_CHECKING:
    from schemas.config import Config
    from schemas.images import Sex
    from schemas.releases import Phantom
    from worker.operations.demo import Demo, DemoImage, DemoResult
    from worker.reporting.reader import RecoveredEstimate, RecoveredReport

OUT = Path("demo-out")


def demo(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE]...",
            exists=True,
            dir_okay=False,
            help="DICOM, PNG, JPEG, WebP or TIFF; without any, the constancy phantom.",
        ),
    ] = None,
    *,
    sex: SexOption = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep settings, storage, log and PACS there."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Send images round the whole loop: PACS, worker, report and page back to the PACS.

    Starts the worker and a small PACS on the loopback, waits for the results, shows the report as
    it was read back from the received Structured Report, and writes everything to demo-out/.

    Examples: boneage demo; boneage demo hand.png --sex F
    """
    checked = settings(config)
    with _folder(keep) as folder:
        try:
            results, phantom = _run(checked, folder, images or [], sex=sex)
        except BaseException:
            _save_log(folder)
            raise
        reports = [_show(result, phantom) for result in results]
    print(f"Everything is in {OUT.absolute()}.")
    if any(report.outcome is Outcome.REFUSED for report in reports):
        raise typer.Exit(1)


def _run(
    config: "Config", folder: Path, sources: list[Path], *, sex: "Sex | None"
) -> "tuple[list[DemoResult], Phantom | None]":
    """Return what came back, and the phantom's known answer where the phantom was sent."""
    from models.release.manifest import read_manifest
    from worker.app import releases
    from worker.operations.demo import Demo, image_file, phantom_file

    release = releases.release_folder(config)
    phantom = None if sources else read_manifest(release)[0].phantom
    to_send = folder / "modality"
    prepared = [
        image_file(to_send, source, number=number, sex=sex)
        for number, source in enumerate(sources, start=1)
    ] or [phantom_file(to_send, read_manifest(release)[0].phantom)]
    with Demo(folder, release=str(release)) as running:
        return _go_round(running, prepared), phantom


def _go_round(running: "Demo", prepared: "list[DemoImage]") -> "list[DemoResult]":
    from worker.operations.demo import OBJECTS_OF_ONE_IMAGE

    with progress_bar() as bar:
        task = bar.add_task("Starting worker and PACS", total=None)
        running.wait_for_worker()
        print(f"Worker and PACS are running. {len(prepared)} image(s) go to the PACS.")
        total = OBJECTS_OF_ONE_IMAGE * len(prepared)
        bar.update(task, description="Waiting for reports", total=total)
        results = running.run(prepared, on_object=lambda count: bar.update(task, completed=count))
    print(f"All results are back in the PACS, after {results[0].seconds:.1f} s.")
    return results


def _show(result: "DemoResult", phantom: "Phantom | None") -> "RecoveredReport":
    """Save one result, and print its report as it reads in the received SR."""
    from worker.operations.pictures import write_png
    from worker.reporting.reader import read_report

    OUT.mkdir(exist_ok=True)
    stem = Path(result.image.name).stem
    files = [OUT / f"{stem}-{kind}" for kind in ("sr.dcm", "sc.dcm", "sc.png")]
    result.report.save_as(files[0], enforce_file_format=True)
    result.capture.save_as(files[1], enforce_file_format=True)
    write_png(files[2], result.capture.pixel_array)
    report = read_report(result.report)
    print()
    console().print(result.image.name, style="bold")
    print_facts(_facts(report, phantom) | {"Files": ", ".join(map(str, files))})
    print()
    return report


def _facts(report: "RecoveredReport", phantom: "Phantom | None") -> dict[str, str]:
    age = report.chronological_age_months
    provenance = report.provenance
    facts = {
        "Conclusion": report.conclusion,
        "Sex": f"{report.sex or 'unknown'} ({report.sex_source.value.replace('_', ' ')})",
        "Chronological age": f"{age:.1f} months" if age is not None else "unknown",
    }
    for estimate in report.estimates:
        name = f"Bone age, read as {estimate.sex}" if estimate.sex else "Bone age"
        facts[name] = _estimate(estimate)
    if report.assessment is not None:
        facts["Z-score"] = f"{report.assessment.z_score:+.2f} ({report.assessment.reference})"
        facts["Class"] = report.assessment.maturity.value.replace("_", " ")
    if report.reason is not None:
        facts["Refused"] = f"{report.reason} ({report.reason_detail})"
    if phantom is not None and report.estimates:
        facts["Known answer"] = _known_answer(report.estimates[0].age_months, phantom)
    return facts | {
        "Flags": ", ".join(report.flags) or "none",
        "Release": f"{provenance.release_name}, version {provenance.release_version}",
        "Limitation": report.limitation,
    }


def _estimate(estimate: "RecoveredEstimate") -> str:
    members = ", ".join(f"{one.member} {one.age_months:.1f}" for one in estimate.members)
    return (
        f"{estimate.age_months:.1f} months, {estimate.words}; {estimate.coverage:.0%} interval "
        f"{estimate.low_months:.1f} to {estimate.high_months:.1f} months; networks: {members}"
    )


def _known_answer(found_months: float, phantom: "Phantom") -> str:
    deviation = found_months - phantom.known_value_months
    verdict = "right" if abs(deviation) <= phantom.tolerance_months else "WRONG"
    return (
        f"{phantom.known_value_months:.1f} ± {phantom.tolerance_months:.1f} months: {verdict} "
        f"(difference {deviation:+.2f})"
    )


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="boneage-demo-") as folder:
        yield Path(folder)


def _save_log(folder: Path) -> None:
    """Keep the worker's log where the person finds it, and show its end."""
    log_file = folder / "worker.log"
    if not log_file.is_file():
        return
    OUT.mkdir(exist_ok=True)
    text = log_file.read_text(encoding="utf-8", errors="replace")
    (OUT / "worker.log").write_text(text, encoding="utf-8")
    print("The end of the worker's log, which is in", (OUT / "worker.log").absolute())
    print("\n".join(text.splitlines()[-15:]))
