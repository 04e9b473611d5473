"""Follows deploy/docs/install.md line by line on a fresh Debian 12 with systemd, and times it.

    python -m tests.deploy.install_trial FOLDER

makes a Debian 12 in FOLDER (debootstrap), types every line of the document there as root, and
stops at the first that fails. Sections 1 and 2 need the packages' servers, so they are typed in a
chroot; the others in a container that is booted with systemd as PID 1 and has no network but its
own loopback. Needs root, the packages debootstrap and systemd-container, the last commit, some
8 GB and ten minutes.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "deploy" / "docs" / "install.md"
SOURCE = "usr/src/boneage-worker"  #: where the document wants the repository
#: sections that fetch packages
ONLINE = ("1", "2")
BOOT_SECONDS = 60.0
LINE_SECONDS = 3600.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the document that is to be typed."""

    section: str  #: "1" … "8", or the first word of a heading without a number
    text: str


def lines_of(document: Path) -> list[Line]:
    """Return every line of every ``sh`` block, in order."""
    found, section, is_code = [], "", False
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = re.split(r"[. ]", line.removeprefix("## "))[0]
        elif line.startswith("```"):
            is_code = line == "```sh"
        elif is_code and line.strip():
            found.append(Line(section=section, text=line))
    return found


def make_debian(folder: Path) -> None:
    """Install a Debian 12 with systemd in ``folder``, and put the last commit where it belongs."""
    if not (folder / "usr").exists():
        told = "--include=systemd-sysv,dbus,ca-certificates"
        subprocess.run(
            ["debootstrap", "--variant=minbase", told, "bookworm", str(folder)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    for path in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(path, folder / path.lstrip("/"))
    source = folder / SOURCE
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "x", "-C", str(source)], input=archive.stdout, check=True)
    _write_hand(folder / "root" / "hand.dcm")


def _write_hand(path: Path) -> None:
    """Write a real hand of BONEAGE_TEST_DATA as a bone-age study."""
    from tests.builders import hand_radiograph, real_hand, write_file  # noqa: PLC0415 - slow

    write_file(hand_radiograph(real_hand("rsna_full/14735.png")), path)


@contextmanager
def booted(folder: Path) -> Iterator[int]:
    """Boot the Debian in ``folder`` without a network; give the number of its first process."""
    container = subprocess.Popen(
        [
            "systemd-nspawn",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--boot",
            "--resolv-conf=off",
            "--timezone=off",
            "-D",
            str(folder),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        yield _first_process(container.pid)
    finally:
        container.send_signal(signal.SIGTERM)  # an orderly shutdown of the container
        container.wait(timeout=90)


def _first_process(parent: int) -> int:
    """Return the systemd of the container once it has come up."""
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for child in map(int, children):
            inside = _enter(child)
            state = subprocess.run(
                [*inside, "systemctl", "is-system-running"],
                check=False,
                capture_output=True,
                text=True,
            )
            if state.stdout.strip() in ("running", "degraded"):
                return child
        time.sleep(0.5)
    sys.exit(f"The container did not come up within {BOOT_SECONDS:.0f} s.")


def _enter(process: int) -> list[str]:
    return [
        "nsenter",
        "--target",
        str(process),
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--root",
        "--wdns=/",
        "env",
        "-i",
        "HOME=/root",
        "TERM=dumb",
        f"PATH={_PATH}",
    ]


def type_lines(lines: Sequence[Line], inside: Sequence[str]) -> float:
    """Type each line, show it with its seconds, and return how long all took."""
    total = 0.0
    for line in lines:
        start = time.monotonic()
        done = subprocess.run(
            [*inside, "bash", "-c", line.text],
            check=False,
            capture_output=True,
            text=True,
            timeout=LINE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        seconds = time.monotonic() - start
        total += seconds
        _say(f"{seconds:7.1f} s  {line.section}  {line.text}")
        if told := (done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip():
            _say("\n".join("             " + each for each in told.splitlines()[-12:]))
        if done.returncode != 0:
            sys.exit(f"This line failed with exit code {done.returncode}.")
    return total


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Follow the document, and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the Debian; made if it is not there")
    parser.add_argument("--resume", action="store_true", help="leave out what is installed there")
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    make_debian(folder)
    lines = [line for line in lines_of(DOCUMENT) if not (given.resume and line.section in ONLINE)]
    passed = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
    chroot = [
        "chroot",
        str(folder),
        "env",
        "-i",
        "HOME=/root",
        f"PATH={_PATH}",
        "DEBIAN_FRONTEND=noninteractive",
        *passed,
    ]
    seconds = type_lines([line for line in lines if line.section in ONLINE], chroot)
    with booted(folder) as process:
        offline = [line for line in lines if line.section not in ONLINE]
        seconds += type_lines(offline, _enter(process))
    _say(f"{len(lines)} lines typed in {seconds / 60:.1f} minutes.")


if __name__ == "__main__":
    main()
