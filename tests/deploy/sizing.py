"""What one image costs on disk, and each process in memory, of a worker that is there.

    python -m tests.deploy.sizing /var/lib/boneage [PID of `boneage serve`]

Reads, and changes nothing: sizes of files under the storage root, divided by the jobs in the
database; of each process the proportional set size (PSS), in which shared pages count once.
"""

import argparse
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_FOLDERS = ("spool", "results", "backups")


def disk(root: Path) -> Iterator[tuple[str, int, float]]:
    """Yield what, how many files, and bytes for each job."""
    with closing(sqlite3.connect(f"{(root / 'boneage.sqlite').as_uri()}?mode=ro", uri=True)) as db:
        (jobs,) = db.execute("SELECT count(*) FROM jobs").fetchone()
        (events,) = db.execute("SELECT count(*) FROM job_events").fetchone()
    yield "jobs", jobs, 1
    yield "rows of the audit trail", events, events / max(jobs, 1)
    for name in _FOLDERS:
        sizes = [path.stat().st_size for path in (root / name).rglob("*") if path.is_file()]
        yield name, len(sizes), sum(sizes) / max(jobs, 1)
    database = sum(path.stat().st_size for path in root.glob("boneage.sqlite*"))
    yield "database", 1, database / max(jobs, 1)


def memory(supervisor: int) -> Iterator[tuple[str, int]]:
    """Yield each process under ``supervisor``, itself first, with its PSS in bytes."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    for process in (supervisor, *map(int, children)):
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
        name = words[words.index("--only") + 1] if "--only" in words else "supervisor"
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        [pss] = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
        yield name, int(pss) * 1024


def main() -> None:
    """Print both as tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", type=Path, help="the storage root")
    parser.add_argument("supervisor", type=int, nargs="?", help="PID of boneage serve")
    given = parser.parse_args()
    for what, count, each in disk(given.root.resolve()):
        sys.stdout.write(f"{what:28} {count:10,}  {each:14,.0f} for each job\n")
    if given.supervisor is not None:
        for name, size in memory(given.supervisor):
            sys.stdout.write(f"{name:28} {size / 1e6:10,.0f} MB\n")


if __name__ == "__main__":
    main()
