"""Where figures go: a table on the screen, JSON and a picture in ``results/``, and the history."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Picture
from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Figure, Verdict

RESULTS = Path(__file__).parent / "results"
HISTORY = "history.jsonl"
_COLOURS = {Verdict.REACHED: "#0072b2", Verdict.MISSED: "#d55e00", Verdict.NO_AIM: "#7f7f7f"}
_LIBRARIES = ("torch", "pynetdicom", "pydicom", "sqlalchemy", "opencv-python")


def machine() -> dict[str, Any]:
    """Return what the figures were measured on; no name of a host."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def keep(name: str, figures: Sequence[Figure], *, runs: int, on: dict[str, Any]) -> Path:
    """Write ``results/NAME.json`` and ``.png``, add a line to the history; return the JSON's path.

    Args:
        name: of the benchmark.
        figures: what was measured.
        runs: how often each was.
        on: the machine, from ``machine``, asked before the first run.
    """
    RESULTS.mkdir(exist_ok=True)
    content = {
        "benchmark": name,
        "at": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "runs": runs,
        "machine": on,
        "figures": [figure.as_json() for figure in figures],
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with (RESULTS / HISTORY).open("a", encoding="utf-8") as history:
        history.write(json.dumps(content) + "\n")
    draw(name, figures, path.with_suffix(".png"))
    return path


def draw(name: str, figures: Sequence[Figure], path: Path) -> None:
    """Draw a bar for each figure, against its peer or its aim, into ``path``."""
    shown = [one for one in figures if one.ratio is not None or one.aim is not None]
    if not shown:
        return
    picture = Picture(figsize=(8, 0.6 + 0.42 * len(shown)), layout="constrained")
    axes = picture.add_subplot()
    for place, figure in enumerate(reversed(shown)):
        bound = figure.aim and (figure.aim.at_least or figure.aim.at_most)
        scale = 1.0 if figure.ratio is not None else 1 / (bound or 1.0)
        axes.barh(place, figure.judged * scale, color=_COLOURS[figure.verdict], height=0.6)
        if bound:
            axes.plot([bound * scale] * 2, [place - 0.4, place + 0.4], color="black", lw=2)
        words = f"{figure.value:.3g} {figure.unit}"
        axes.text(0.01, place, words, va="center", color="white", fontsize=8, fontweight="bold")
    axes.set_yticks(range(len(shown)), [one.name for one in reversed(shown)], fontsize=8)
    axes.set_xlabel("ratio to the peer or the aim; black: what was aimed at; orange: missed")
    axes.set_title(name, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(path, dpi=110)


def show(name: str, figures: Sequence[Figure], console: Console) -> None:
    """Print the figures as a table."""
    table = Table(title=name, title_justify="left", title_style="bold")
    for heading in ("figure", "value", "peer or limit", "ratio", "aim", ""):
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    for one in figures:
        peer = f"{one.peer}: {one.peer_value:.3g} {one.unit}" if one.peer_value else one.peer
        table.add_row(
            one.name,
            f"{one.value:.3g} {one.unit}",
            peer,
            "" if one.ratio is None else f"{one.ratio:.2f}",
            str(one.aim or ""),
            "" if one.verdict is Verdict.NO_AIM else one.verdict.value,
        )
    console.print(table)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"
