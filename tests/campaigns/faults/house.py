"""One installation under fault: the real `boneage serve`, its processes, database and files."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from tests.campaigns.faults.launch import LAUNCHER, Plan, set_clock
from tests.campaigns.faults.sending import SENDERS
from tests.orthanc import Modality, Orthanc, free_port, wait_for
from tests.system.running import RunningWorker
from worker.app import databases

PACS = "pacs"
PROCESSES = ("listen", "infer", "deliver", "schedule")

_SETTINGS = """\
[listener]
port = {port}
maximum_associations_by_address = 64

{peers}
[storage]
root = "{root}"
{storage}
[database]
url = "{database}"

[inference]
devices = ["cpu"]
threads = 1
lease_seconds = 10
attempts = 20
first_retry_seconds = 0.3
poll_seconds = 0.1

[delivery]
lease_seconds = 10
first_retry_seconds = 0.3
longest_retry_seconds = 2
connect_timeout_seconds = 5
commitment_timeout_seconds = 3
poll_seconds = 0.1

[schedule]
rescue_seconds = 1
seal_seconds = 1
constancy_hours = 0

[log]
level = "info"
json_lines = true
"""
#: other programs may have filled this disk: no matter here
_ANY_FILL = "high_mark_percent = 100\nlow_mark_percent = 99"
_SENDER = """\
[[peer]]
name = "{name}"
ae_title = "{name}"
destination = false
destinations = [{destinations}]

"""
_DESTINATION = """\
[[peer]]
name = "{name}"
ae_title = "{ae_title}"
port = {port}
sender = false
{more}
"""


def sender(name: str, *destinations: str) -> str:
    return _SENDER.format(name=name, destinations=", ".join(f'"{each}"' for each in destinations))


def destination(
    name: str, *, ae_title: str, port: int, more: str = 'commitment = "storage_commitment"'
) -> str:
    """A peer that gets results, and may bring its reports."""
    return _DESTINATION.format(name=name, ae_title=ae_title, port=port, more=more)


class House(RunningWorker):
    """One installation in ``folder``, started through the launcher."""

    def __init__(self, folder: Path, *, peers: str, site: "Site", port: int) -> None:
        """``site.settings``: "database" is a URL, "storage" are further lines of that section."""
        super().__init__(folder, pacs_ae=SENDERS[0], pacs_port=1, port=port)
        self.root = site.root or folder / "storage"
        site.plan.write(folder)
        self.settings_file.write_text(
            _SETTINGS.format(
                port=self.port,
                peers=peers,
                root=self.root,
                storage=site.settings.get("storage", _ANY_FILL),
                database=site.settings.get("database", ""),
            )
        )

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        opened = databases.engine(self.config())
        try:
            yield opened
        finally:
            opened.dispose()

    @property
    def pids(self) -> dict[str, int]:
        """Return the process number of every child that is there, by the name of its process."""
        supervisor = self.supervisor_pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        return {name: pid for pid in map(int, children) if (name := _process_name(pid))}

    @property
    def supervisor_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill_process(self, name: str) -> None:
        """End one process as a crash would, once it is there: it may just be starting again."""
        wait_for(lambda: name in self.pids)
        os.kill(self.pids[name], signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """End the supervisor alone, wait until its children have noticed, and start it again."""
        children = self.pids.values()
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        process.wait()
        try:
            wait_for(lambda: not any(_is_running(pid) for pid in children), limit_seconds=60)
        finally:
            self._process = None
            for pid in children:  # a session of its own: nobody else would end them
                if _is_running(pid):
                    os.kill(pid, signal.SIGKILL)
        self.start()

    def falls(self) -> int:
        """Return how often the supervisor saw a process fall."""
        return self.log_file.read_text(errors="replace").count("supervisor.fell")

    def launching(self, folder: Path, *arguments: str) -> list[str]:
        """Return the command of `boneage serve` as ``folder`` says it differs."""
        words = super()._command("serve", *arguments)
        at = words.index("worker")
        return [*words[:at], LAUNCHER, str(folder), *words[at + 1 :]]

    def _command(self, *arguments: str) -> list[str]:
        is_serving = arguments[0] == "serve"
        return self.launching(self.folder) if is_serving else super()._command(*arguments)


@dataclass(frozen=True, kw_only=True)
class Site:
    """How one installation with an Orthanc differs from the plain one."""

    plan: Plan = field(default_factory=Plan)
    more_peers: Sequence[str] = ()  #: further blocks of the settings
    root: Path | None = None  #: of the storage; none: in the folder
    settings: Mapping[str, str] = field(default_factory=dict)  #: see ``House``
    scripts: Sequence[Path] = ()  #: Lua that Orthanc obeys
    only: Sequence[str] = ()  #: the processes to start; none: all
    ahead: timedelta = timedelta()  #: by how much their clock is wrong


@contextmanager
def house_with_orthanc(folder: Path, site: Site | None = None) -> Iterator[tuple[House, Orthanc]]:
    """Run the whole of it: settings for four senders, the worker, and Orthanc, which commits."""
    site = site or Site()
    port = free_port()
    pacs = Orthanc(
        folder / "pacs",
        modalities={"boneage": Modality("BONEAGE", port)},
        settings={"LuaScripts": [str(path) for path in site.scripts]},
    )
    peers = [
        *(sender(name, PACS) for name in SENDERS),
        destination(PACS, ae_title=pacs.ae_title, port=pacs.port),
        *site.more_peers,
    ]
    house = House(folder / "house", peers="".join(peers), site=site, port=port)
    set_clock(house.folder, ahead=site.ahead)
    with house, pacs:
        house.start(*site.only)
        yield house, pacs


def _process_name(pid: int) -> str:
    """Return "listen", "infer" … of a child; nothing if it has just gone."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
        words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # a forked child calls itself so; one that was started cold says it in its command
    return name if name in PROCESSES else _after(words, "--only").partition(":")[0]


def _after(words: Sequence[str], word: str) -> str:
    return words[words.index(word) + 1] if word in words else ""


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
