"""What a campaign found: a table for people, JSON for machines, and how to see it again."""

import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

Figure = int | float | str


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked of a campaign; the same order gives the same faults."""

    runs: int
    seed: int
    first: int = 1  #: number of the first run: each has its own chance, so one can be seen alone
    ends_at: float = math.inf  #: by the monotonic clock; no run begins after it

    @property
    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the runs, until the time is over."""
        for number in range(self.first, self.first + self.runs):
            if time.monotonic() > self.ends_at:
                return
            yield number

    def chance(self, number: int) -> str:
        """Return the seed of one run."""
        return f"{self.seed}:{number}"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One run that did not end as it must."""

    run: int
    what: str  #: kill point, scenario …
    found: str
    again: str  #: the command that does that very run again


@dataclass(kw_only=True)
class Findings:
    """Everything one campaign has to say."""

    campaign: str
    order: Order
    rows: list[dict[str, Figure]] = field(default_factory=list)  #: the table
    figures: dict[str, Figure] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    skipped: str = ""  #: why nothing was done
    seconds: float = 0.0

    def fail(self, *, run: int, what: str, found: str) -> None:
        self.failures.append(
            Failure(run=run, what=what, found=found, again=self.again(run)),
        )

    def again(self, run: int) -> str:
        words = f"python -m tests.campaigns.faults {self.campaign}"
        return f"{words} --runs 1 --first {run} --seed {self.order.seed}"

    def record(self) -> dict[str, object]:
        """Return everything as plain values."""
        order = {"runs": self.order.runs, "seed": self.order.seed, "first": self.order.first}
        return asdict(self) | {"order": order}

    def lines(self) -> list[str]:
        """Return the table, the figures and what failed."""
        head = f"{self.campaign}: seed {self.order.seed}"
        if self.skipped:
            return [f"{self.campaign}: skipped: {self.skipped}"]
        failed = [
            line
            for each in self.failures
            for line in (f"FAILED run {each.run}, {each.what}: {each.found}", f"  {each.again}")
        ]
        told = [f"{name}: {shown(value)}" for name, value in self.figures.items()]
        verdict = f"{len(self.failures)} failed" if self.failures else "nothing failed"
        return [f"{head}, {self.seconds:.0f} s: {verdict}", *table(self.rows), *told, *failed]


def table(rows: Sequence[Mapping[str, Figure]]) -> list[str]:
    """Return rows as a table in Markdown."""
    if not rows:
        return []
    names = list(rows[0])
    cells = [names, *([shown(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    padded = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]
    rule = "|".join("-" * (width + 2) for width in widths)
    head, *body = [f"| {line} |" for line in padded]
    return [head, f"|{rule}|", *body]


def shown(value: Figure) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def machine() -> dict[str, Figure]:
    """Return what the figures were measured on."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "boneage_worker": version("boneage-worker"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def write_json(all_findings: Sequence[Findings], path: Path) -> None:
    """Write everything that was found, with seed and machine."""
    content = {"machine": machine(), "campaigns": [each.record() for each in all_findings]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
