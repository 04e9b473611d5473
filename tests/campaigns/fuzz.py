"""Mutated PDUs and data sets against a listener in a process of its own.

``python -m tests.campaigns.fuzz --count 10000 --seed 1`` prints its figures and ends with 0 if
nothing crashed, hung, grew or was lost, and if a healthy sender was served all the while.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import pydicom.data
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.builders import hand_radiograph, write_file
from tests.campaigns.wire import RELEASE_RQ, Wire, association_request, pdu, store_request
from tests.worker.listener.encoding import DX, EXPLICIT, IMPLICIT, dataset, explicit, implicit, uid
from worker.listener.contexts import TRANSFER_SYNTAXES
from worker.listener.errors import (
    CANNOT_UNDERSTAND,
    CLASS_NOT_SUPPORTED,
    DATASET_DOES_NOT_MATCH,
    OUT_OF_RESOURCES,
    SUCCESS,
    UnreadableDatasetError,
)
from worker.listener.header import read_identity
from worker.queue.database import open_engine, sqlite_url, upgrade

REPOSITORY = Path(__file__).parents[2]
#: What a sender may be told; PROCESSING_FAILURE and 0xC211 would be bugs of ours.
TOLD = frozenset(
    {SUCCESS, OUT_OF_RESOURCES, DATASET_DOES_NOT_MATCH, CANNOT_UNDERSTAND, CLASS_NOT_SUPPORTED}
)
MOST_GROWTH_BYTES = 50 * 1024 * 1024  # the acceptance figure of the campaign
LONGEST_SERVICE_SECONDS = 20.0  # for a healthy sender on a busy machine
_ATTACKERS = 6
_LARGEST_FILE_BYTES = 150_000
_LISTENER = {
    "acse_timeout_seconds": 15,
    "network_timeout_seconds": 20,
    "message_timeout_seconds": 20,
    "largest_file_megabytes": 1,
}
#: Log events that nothing from outside may cause.
_ACCIDENTS = (
    "logs.uncaught",
    "receive.failed",
    "association.not_opened",
    "association.not_judged",
    "association.too_many_connections",  # six attackers: others were not let go
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One file as a sender would send it."""

    name: str
    content: bytes  #: the data set
    transfer_syntax_uid: str
    sop_instance_uid: str


@dataclass(kw_only=True)
class Figures:
    """What the campaign found."""

    conversations: int = 0
    mutants: int = 0
    statuses: Counter[int | None] = field(default_factory=Counter)
    services: list[float] = field(default_factory=list)  #: seconds for each healthy object
    growth_bytes: int = 0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        told = {"none" if key is None else f"0x{key:04X}": n for key, n in self.statuses.items()}
        return [
            f"mutants             {self.mutants} in {self.conversations} conversations",
            f"statuses            {dict(sorted(told.items()))}",
            f"healthy objects     {len(self.services)}, slowest {max(self.services):.2f} s",
            f"growth of memory    {self.growth_bytes / 1024 / 1024:.1f} MiB",
            f"time                {self.seconds:.0f} s",
        ]


# the listener


class RunningListener:
    """The listener process, and what the system says about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        engine = open_engine(sqlite_url(root))
        upgrade(engine, backup_folder=None)
        engine.dispose()
        self._log = (root / "listener.log").open("wb")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.worker.listener.dying_listener"),
                *(str(root), "never", json.dumps(_LISTENER)),
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> int:
        """End it as the supervisor does, and return its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait(60)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._log.close()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    @property
    def open_things(self) -> tuple[int, int]:
        """Return how many threads and files it has."""
        process = Path(f"/proc/{self._process.pid}")
        return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))

    def accidents(self) -> list[str]:
        lines = (self.root / "listener.log").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if any(name in line for name in _ACCIDENTS)]

    def kept(self) -> int:
        return len(list((self.root / "spool").rglob("*.dcm")))

    def halves(self) -> int:
        return len(list((self.root / "incoming").iterdir()))


# what is mutated


def samples(folder: Path) -> list[Sample]:
    """Return pydicom's test files, good and bad, as radiographs where that can be written."""
    paths = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))
    found = [sample_of(path) for path in paths if path.stat().st_size <= _LARGEST_FILE_BYTES]
    drawn = write_file(hand_radiograph(), folder / "hand.dcm")
    return [*found, sample_of(drawn)]


def sample_of(path: Path) -> Sample:
    """Read a file by its structure alone; what has no file meta is taken as it lies."""
    whole = path.read_bytes()
    content, syntax = whole, IMPLICIT
    if whole[128:132] == b"DICM":
        length = int.from_bytes(whole[140:144], "little")
        head, content = whole[132 : 144 + length], whole[144 + length :]
        known = [one for one in TRANSFER_SYNTAXES if uid(one) in head]
        syntax = max(known, key=len, default=EXPLICIT)
    try:
        identity = read_identity(path, offset=len(whole) - len(content), transfer_syntax_uid=syntax)
    except UnreadableDatasetError:
        return Sample(
            name=path.name, content=content, transfer_syntax_uid=syntax, sop_instance_uid="1.2.3"
        )
    for write in (lambda tag, value: explicit(tag, "UI", value), implicit):
        old = write(0x00080016, uid(identity.sop_class_uid or ""))
        content = content.replace(old, write(0x00080016, uid(DX)), 1)
    return Sample(
        name=path.name,
        content=content,
        transfer_syntax_uid=syntax,
        sop_instance_uid=identity.sop_instance_uid or "1.2.3",
    )


def conversation(sample: Sample) -> list[bytes]:
    """Return a whole conversation, PDU by PDU, that would store the sample."""
    stored = store_request(
        sample.content[:40_000], sop_class_uid=DX, sop_instance_uid=sample.sop_instance_uid
    )
    return [
        association_request((DX, sample.transfer_syntax_uid)),
        *stored,
        pdu(RELEASE_RQ, bytes(4)),
    ]


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One change at a place, given as a share of the length."""

    kind: str
    place: float
    value: bytes

    def apply(self, content: bytes) -> bytes:
        at, value = int(self.place * len(content)), self.value
        if self.kind == "cut":
            return content[:at]
        if self.kind == "insert":
            return content[:at] + value + content[at:]
        if self.kind == "remove":
            return content[:at] + content[at + len(value) :]
        if self.kind == "repeat":
            return content[:at] + content[at : at + 64 * len(value)] + content[at:]
        if self.kind == "flip":
            flipped = bytes(a ^ b for a, b in zip(content[at:], value, strict=False))
            return content[:at] + flipped + content[at + len(flipped) :]
        return content[:at] + value + content[at + len(value) :]  # "write"


#: Lengths are where parsers trust most.
_LENGTHS = st.sampled_from(
    [b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\x00\x00\x00\x80", bytes(4), b"\xff\xff", b"\x7f"]
)
_MUTATIONS = st.lists(
    st.builds(
        Mutation,
        kind=st.sampled_from(["flip", "flip", "write", "insert", "remove", "repeat", "cut"]),
        # most of what can be misread stands at the front
        place=st.one_of(st.floats(0, 1), st.floats(0, 0.02)),
        value=st.one_of(st.binary(min_size=1, max_size=8), _LENGTHS),
    ),
    min_size=1,
    max_size=6,
)


def mutated(content: bytes, mutations: Sequence[Mutation]) -> bytes:
    for mutation in mutations:
        content = mutation.apply(content)
    return content


# the attacks, each one conversation


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One conversation: which sample, and what is done to it in how many versions."""

    kind: str  #: "request", "stream", "data sets" or "noise"
    sample: int
    versions: list[list[Mutation]]
    noise: bytes = b""

    @property
    def mutants(self) -> int:
        return len(self.versions) if self.kind == "data sets" else 1


_ATTACKS = st.builds(
    Attack,
    kind=st.sampled_from(["request", "stream", "data sets", "data sets", "noise"]),
    sample=st.integers(0, 1000),
    versions=st.lists(_MUTATIONS, min_size=4, max_size=12),
    noise=st.binary(min_size=0, max_size=300),
)


def attacks(*, count: int, random_seed: int) -> list[Attack]:
    """Return conversations with ``count`` mutants or more; the same seed gives the same."""
    made: list[Attack] = []

    @seed(random_seed)
    @settings(
        max_examples=count // 2 + 20,  # a conversation has nearly four mutants on average
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_ATTACKS)
    def gather(attack: Attack) -> None:
        made.append(attack)

    gather()
    totals = accumulate(attack.mutants for attack in made)
    enough = next(number for number, total in enumerate(totals, start=1) if total >= count)
    return made[:enough]


def strike(port: int, attack: Attack, sample: Sample) -> Counter[int | None]:
    """Hold one conversation to its end; return the statuses of what was stored one by one.

    Raises:
        HangError: the listener did not come to it.
        AssertionError: it answered what it must not.
    """
    request, *rest = conversation(sample)
    told: Counter[int | None] = Counter()
    with Wire(port) as wire:
        if attack.kind == "noise":
            wire.send(attack.noise)
        elif attack.kind == "request":
            wire.send(mutated(request, attack.versions[0]))
        elif wire.associate(request):
            if attack.kind == "stream":
                wire.send(mutated(b"".join(rest), attack.versions[0]))
            else:
                told = _store_all(wire, attack, sample)
        wire.finish()
    return told


def _store_all(wire: Wire, attack: Attack, sample: Sample) -> Counter[int | None]:
    told: Counter[int | None] = Counter()
    for version in attack.versions:
        content = mutated(sample.content, version)
        status = wire.store(
            store_request(content, sop_class_uid=DX, sop_instance_uid=sample.sop_instance_uid)
        )
        assert status in TOLD, f"{sample.name} was answered {status}"
        told[status] += 1
    return told


# the healthy sender


@contextmanager
def healthy_sender(port: int, figures: Figures) -> Iterator[None]:
    """Send a good object again and again, from another address; fail if one is not taken."""
    over = threading.Event()
    failures: list[str] = []

    def send_all() -> None:
        number = 0
        while not over.is_set() and not failures:
            number += 1
            began = time.monotonic()
            try:
                status = store_one(port, sop_instance_uid=f"1.2.826.{number}")
            except (AssertionError, OSError) as error:
                failures.append(f"object {number}: {error!r}")
                return
            seconds = time.monotonic() - began
            if status != SUCCESS:
                failures.append(f"object {number} was answered {status} after {seconds:.1f} s")
            figures.services.append(seconds)
            over.wait(0.1)

    thread = threading.Thread(target=send_all)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
    assert failures == [], failures
    assert figures.services, "the healthy sender was never served"
    assert max(figures.services) < LONGEST_SERVICE_SECONDS


def store_one(port: int, *, sop_instance_uid: str) -> int | None:
    """Store a good object from another address; return the status, none if it was not let in."""
    good = dataset(sop_instance_uid=sop_instance_uid)
    with Wire(port, address="127.0.0.2") as wire:
        if not wire.associate(association_request((DX, EXPLICIT))):
            return None
        return wire.store(store_request(good, sop_class_uid=DX, sop_instance_uid=sop_instance_uid))


# the campaign


def campaign(root: Path, *, count: int, random_seed: int) -> Figures:
    """Send at least ``count`` mutants and return what was found.

    Raises:
        AssertionError: something crashed, hung, grew, leaked or was lost.
    """
    began = time.monotonic()
    figures, planned = Figures(), attacks(count=count, random_seed=random_seed)
    listener = RunningListener(root)
    try:
        known = samples(root)
        as_they_are = [
            Attack(kind="data sets", sample=number, versions=[[]]) for number in range(len(known))
        ]
        _strike_all(listener, known, figures, as_they_are)  # warms up as well
        before, things = listener.resident_bytes, listener.open_things
        with healthy_sender(listener.port, figures):
            _strike_all(listener, known, figures, planned)
        _wait_until_quiet(listener, things)
        figures.growth_bytes = listener.resident_bytes - before
        assert listener.is_alive
        kept = listener.kept()
    finally:
        exit_code = listener.stop()
    figures.seconds = time.monotonic() - began
    _require_nothing_lost(listener, figures, kept=kept)
    assert exit_code == 0, f"it ended with {exit_code}"
    return figures


def _strike_all(
    listener: RunningListener,
    known: Sequence[Sample],
    figures: Figures,
    planned: Sequence[Attack],
) -> None:
    def strike_one(attack: Attack) -> Counter[int | None]:
        assert listener.is_alive, "the listener ended"
        return strike(listener.port, attack, known[attack.sample % len(known)])

    with ThreadPoolExecutor(_ATTACKERS) as pool:
        for told in pool.map(strike_one, planned):
            figures.statuses += told
    figures.conversations += len(planned)
    figures.mutants += sum(attack.mutants for attack in planned)


def _wait_until_quiet(listener: RunningListener, things: tuple[int, int]) -> None:
    """Wait until threads and files are as few as before; pynetdicom collects them now and then."""
    end = time.monotonic() + 60
    threads, files = things
    while listener.open_things > (threads + 2, files + 2) or listener.halves():
        assert time.monotonic() < end, f"{listener.open_things} threads and files, were {things}"
        threading.Event().wait(0.1)


def _require_nothing_lost(listener: RunningListener, figures: Figures, *, kept: int) -> None:
    assert figures.growth_bytes < MOST_GROWTH_BYTES, f"grew by {figures.growth_bytes} bytes"
    assert listener.accidents() == []
    engine = open_engine(sqlite_url(listener.root))
    try:
        with engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT count(*) FROM receptions").scalar_one()
            resent = connection.exec_driver_sql(
                "SELECT count(*) FROM job_events WHERE event = 'resent'"
            ).scalar_one()
    finally:
        engine.dispose()
    acknowledged = figures.statuses[SUCCESS] + len(figures.services)
    assert rows == kept
    # a mutated stream may store one whose answer is not waited for
    assert rows + resent >= acknowledged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="how many mutants at least")
    parser.add_argument("--seed", type=int, default=1)
    given_arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="boneage-fuzz-") as folder:
        figures = campaign(
            Path(folder), count=given_arguments.count, random_seed=given_arguments.seed
        )
    sys.stdout.write("\n".join(figures.lines()) + "\n")


if __name__ == "__main__":
    main()
