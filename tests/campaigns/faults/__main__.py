"""The fault campaigns: ``python -m tests.campaigns.faults [NAME …] [--runs N] [--seed S]``.

Each prints a table; ``--json FILE`` writes figures, seed and machine. The exit code is 1 if a
promise was broken; the line below it does that very run again.
"""

import argparse
import math
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.campaigns.faults import claims, clocks, disk, hosts, kill, peers, restore, soak
from tests.campaigns.faults.findings import Findings, Order, write_json

Campaign = Callable[..., Findings]
#: each campaign, and how many runs its long form has
CAMPAIGNS: dict[str, tuple[Campaign, int]] = {
    "kill": (kill.campaign, 200),
    "peers": (peers.campaign, 39),
    "disk": (disk.campaign, 20),
    "hosts": (hosts.campaign, 20),
    "clocks": (clocks.campaign, 6),
    "restore": (restore.campaign, 20),
    "claims": (claims.campaign, 10),
    "soak": (soak.campaign, 5000),
}


def run(name: str, order: Order, folder: Path) -> Findings:
    """Run one campaign in ``folder``; what it cannot have is a reason, not an error."""
    began = time.monotonic()
    try:
        findings = CAMPAIGNS[name][0](folder, order, tell=_tell)
    except pytest.skip.Exception as reason:
        findings = Findings(campaign=name, order=order, skipped=str(reason))
    except (AssertionError, pytest.fail.Exception) as error:
        findings = Findings(campaign=name, order=order)
        findings.fail(run=order.first, what="the campaign itself", found=str(error))
    findings.seconds = time.monotonic() - began
    return findings


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.faults", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CAMPAIGNS)}")
    parser.add_argument("--runs", type=int, help="how many; without it, those of the long form")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="number of the first run")
    parser.add_argument(
        "--minutes", type=float, help="begin no run after so long, of each campaign"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and files there")
    given = parser.parse_args(arguments)
    names = given.names or list(CAMPAIGNS)
    if strangers := set(names) - set(CAMPAIGNS):
        parser.error(f"no such campaign: {', '.join(sorted(strangers))}")
    all_findings = []
    for name in names:
        order = Order(
            runs=given.runs or CAMPAIGNS[name][1],
            seed=given.seed,
            first=given.first,
            ends_at=time.monotonic() + 60 * (given.minutes or math.inf),
        )
        with tempfile.TemporaryDirectory(prefix="boneage-faults-") as folder:
            all_findings.append(run(name, order, (given.keep or Path(folder)) / name))
        sys.stdout.write("\n".join(all_findings[-1].lines()) + "\n\n")
        sys.stdout.flush()
    if given.json is not None:
        write_json(all_findings, given.json)
    return 1 if any(findings.failures for findings in all_findings) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nobody is left behind
    sys.exit(main())
