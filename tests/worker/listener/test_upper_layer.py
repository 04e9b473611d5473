"""The way past pynetdicom, held to pynetdicom's own way by whole conversations."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from struct import pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA as PDataPrimitive  # noqa: N811 - a class

from tests.campaigns.wire import (
    P_DATA,
    RELEASE_RQ,
    Wire,
    association_request,
    pdu,
    status_in,
    store_request,
)
from tests.orthanc import wait_for
from tests.worker.listener.conftest import Site, StartSite
from tests.worker.listener.encoding import DX, EXPLICIT, dataset, explicit
from tests.worker.listener.sending import encoded_file, store
from worker.listener.errors import OUT_OF_RESOURCES, SUCCESS
from worker.listener.transport import LONGEST_PDU_BYTES, SpoolingProvider
from worker.listener.upper_layer import SpoolingUpperLayer

CONTEXT, OTHER_CONTEXT = 1, 77
LIMIT_SECONDS = 10
LAST_OF_COMMAND, LAST_OF_DATA_SET = b"\3", b"\2"
ABORT = pdu(7, bytes(4))
_LARGEST_FRAGMENT = 200_000

#: Fragments with which the message still ends well: (context, control, value)
HARMLESS = {
    "an empty fragment": (CONTEXT, 0, b""),
    "a fragment of another context": (OTHER_CONTEXT, 0, b"\0\0"),
    "a command fragment": (CONTEXT, 1, b"\0\0"),
    "bits that mean nothing": (CONTEXT, 0xF0, b"\0\0"),
}


def without_data_set(command: bytes) -> bytes:
    """Return a command that says that no data set follows: PS3.7 E.1, (0000,0800) is 0101H."""
    element = pack("<HHLH", 0x0000, 0x0800, 2, 0x0001)
    assert element in command
    return command.replace(element, element[:-2] + b"\1\1")


#: Bytes after which nothing sensible comes.
FATAL = {
    "an abort": ABORT,
    "a release": pdu(RELEASE_RQ, bytes(4)),
    "half an abort": ABORT[:5],
    "a second command": pdu(P_DATA, pack(">LBB", 22, CONTEXT, 3) + bytes(20)),
    "a second image": b"".join(
        store_request(bytes(9_000), sop_class_uid=DX, sop_instance_uid="1.2.9")
    ),
    "a second image that has no data set": without_data_set(
        store_request(b"", sop_class_uid=DX, sop_instance_uid="1.2.9")[0]
    ),
    "an item that is too long": pdu(P_DATA, pack(">LBB", 5000, CONTEXT, 0) + bytes(20)),
    "an item that is too short": pdu(P_DATA, pack(">LBB", 7, CONTEXT, 0) + bytes(20)),
    "the last item, and a broken one": pdu(
        P_DATA, pack(">LBB", 4, CONTEXT, 2) + bytes(2) + pack(">LBB", 99, CONTEXT, 0)
    ),
    "an item without a control header": pdu(P_DATA, pack(">LB", 1, CONTEXT)),
    "an item without a length": pdu(P_DATA, b"\0\0"),
    "an empty PDU": pdu(P_DATA, b""),
    "a PDU that is too long": pack(">BBLLBB", P_DATA, 0, LONGEST_PDU_BYTES + 1, 4, CONTEXT, 0),
    "a PDU of no kind": pdu(9, bytes(20)),
    "half a fragment": pdu(P_DATA, pack(">LBB", 102, CONTEXT, 0) + bytes(100))[:-50],
    "half a head": pdu(P_DATA, pack(">LBB", 102, CONTEXT, 0) + bytes(100))[:9],
}


@dataclass(frozen=True, kw_only=True)
class Journey:
    """How one data set travels: cut into fragments, gathered in PDUs, sent in steps."""

    pixel_bytes: int
    sizes: list[int]  #: of the first fragments; the others are as long as they may be
    items: list[int]  #: how many fragments are in a PDU, again and again
    step: int  #: bytes that are sent at a time
    harmless: list[tuple[int, str]]  #: what is put in before which fragment
    fatal: tuple[int, str] | None  #: after how many PDUs it ends, and how

    def pdus(self, sop_instance_uid: str) -> list[bytes]:
        pixels = explicit(0x7FE00010, "OW", bytes(range(256)) * (self.pixel_bytes // 256))
        content = dataset(sop_instance_uid=sop_instance_uid, after_study=pixels)
        values = list(_cut(content, self.sizes))
        fragments = [(CONTEXT, 0, value) for value in values[:-1]] + [(CONTEXT, 2, values[-1])]
        for place, what in self.harmless:
            fragments.insert(min(place, len(fragments) - 1), HARMLESS[what])
        command, *_ = store_request(b"", sop_class_uid=DX, sop_instance_uid=sop_instance_uid)
        sent = [command, *_gathered(fragments, self.items)]
        if self.fatal is None:
            return sent
        place, what = self.fatal
        return [*sent[: max(1, min(place, len(sent) - 1))], FATAL[what]]


def _cut(content: bytes, sizes: list[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        if start + size >= len(content):
            break
        yield content[start : start + size]
        start += size
    while start + _LARGEST_FRAGMENT < len(content):
        yield content[start : start + _LARGEST_FRAGMENT]
        start += _LARGEST_FRAGMENT
    yield content[start:]


def _gathered(fragments: list[tuple[int, int, bytes]], items: list[int]) -> Iterator[bytes]:
    left = [
        pack(">LBB", len(value) + 2, context, control) + value
        for context, control, value in fragments
    ]
    for number in cycle(items):
        if not left:
            return
        yield pdu(P_DATA, b"".join(left[:number]))
        left = left[number:]


_PLACES = st.integers(0, 8)
_JOURNEYS = st.builds(
    Journey,
    pixel_bytes=st.sampled_from([0, 4_096, 100_096, 700_160, 1_200_128]),
    sizes=st.one_of(
        st.lists(st.one_of(st.integers(0, 9), st.integers(0, 20_000)), max_size=8),
        # alike, as real senders cut them: several are read at once
        st.builds(lambda size, times: [size] * times, st.integers(0, 140_000), st.integers(2, 40)),
    ),
    items=st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=1, max_size=4),
    step=st.sampled_from([7, 1_000, 4_096, 10_000_000]),
    harmless=st.lists(st.tuples(_PLACES, st.sampled_from(sorted(HARMLESS))), max_size=3),
    fatal=st.none() | st.tuples(_PLACES, st.sampled_from(sorted(FATAL))),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one conversation."""

    answers: list[tuple[int, bytes]] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)
    jobs: int = 0


def travel(site: Site, journey: Journey, *, sop_instance_uid: str) -> Outcome:
    """Send one data set, and another behind it if there still is an association."""
    before = set(site.kept)
    jobs = len(site.jobs)
    answers = []
    with Wire(site.port) as wire:
        assert wire.associate(association_request((DX, EXPLICIT)))
        whole = b"".join(journey.pdus(sop_instance_uid))
        # small steps for the beginning alone: what is behind a gap is taken as any other
        for start in range(0, min(len(whole), 60 * journey.step), journey.step):
            wire.send(whole[start : start + journey.step])
        wire.send(whole[60 * journey.step :])
        if journey.fatal is None:
            answers = [wire.read_pdu()]
            second = dataset(sop_instance_uid=f"{sop_instance_uid}.1")
            second_uid = f"{sop_instance_uid}.1"
            wire.send(*store_request(second, sop_class_uid=DX, sop_instance_uid=second_uid))
            answers.append(wire.read_pdu())
        wire.finish()
    wait_for(lambda: site.halves == [])
    return Outcome(
        answers=[one for one in answers if one is not None],
        kept={path.name: path.read_bytes() for path in set(site.kept) - before},
        jobs=len(site.jobs) - jobs,
    )


def test_every_journey_ends_as_on_the_way_of_pynetdicom(
    start_site: StartSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = start_site(largest_file_megabytes=1, maximum_associations=1000)
    numbers = count(1)

    @settings(
        max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(_JOURNEYS)
    def compare(journey: Journey) -> None:
        uid = f"1.2.3.{next(numbers)}"
        straight = travel(site, journey, sop_instance_uid=f"{uid}.1")
        with monkeypatch.context() as patched:
            patched.setattr(SpoolingProvider, "arriving", None)
            plain = travel(site, journey, sop_instance_uid=f"{uid}.2")
        assert told(straight) == told(plain)
        assert contents(straight, f"{uid}.1") == contents(plain, f"{uid}.2")
        assert straight.jobs == plain.jobs

    compare()


def told(outcome: Outcome) -> list[tuple[int, int | None]]:
    return [(kind, status_in(body)) for kind, body in outcome.answers]


def contents(outcome: Outcome, uid: str) -> list[bytes]:
    """Return the kept files as if they had one UID."""
    return sorted(content.replace(uid.encode(), b"UID") for content in outcome.kept.values())


@pytest.mark.parametrize("what", sorted(FATAL))
def test_nothing_is_kept_of_a_data_set_that_ends_in(site: Site, what: str) -> None:
    journey = Journey(
        pixel_bytes=100_096, sizes=[9_000] * 3, items=[1], step=10**7, harmless=[], fatal=(3, what)
    )
    assert travel(site, journey, sop_instance_uid="1.2.3") == Outcome()


@pytest.mark.parametrize("what", sorted(HARMLESS))
def test_a_data_set_is_kept_in_spite_of(site: Site, what: str) -> None:
    journey = Journey(
        pixel_bytes=4_096, sizes=[900] * 3, items=[1], step=10**7, harmless=[(2, what)], fatal=None
    )
    outcome = travel(site, journey, sop_instance_uid="1.2.3")
    assert told(outcome) == [(P_DATA, SUCCESS), (P_DATA, SUCCESS)]
    assert outcome.jobs == 2


def test_an_object_above_the_limit_is_drained_to_its_end(start_site: StartSite) -> None:
    site = start_site(largest_file_megabytes=1)
    journey = Journey(
        pixel_bytes=1_200_128, sizes=[], items=[1], step=10**7, harmless=[], fatal=None
    )
    outcome = travel(site, journey, sop_instance_uid="1.2.3")
    assert told(outcome) == [(P_DATA, OUT_OF_RESOURCES), (P_DATA, SUCCESS)]


def test_images_that_are_sent_without_waiting_for_an_answer_are_kept_each_for_itself(
    site: Site,
) -> None:
    contents = {
        f"1.2.{number}": dataset(
            sop_instance_uid=f"1.2.{number}",
            after_study=explicit(0x7FE00010, "OW", bytes([number]) * (700_000 + number * 2)),
        )
        for number in range(6)
    }
    with Wire(site.port) as wire:
        assert wire.associate(association_request((DX, EXPLICIT)))
        for uid, content in contents.items():
            wire.send(*store_request(content, sop_class_uid=DX, sop_instance_uid=uid))
        answers = [wire.read_pdu() for _ in contents]
        wire.finish()
    statuses = [status_in(answer[1]) for answer in answers if answer is not None]
    assert statuses == [SUCCESS] * len(contents)
    kept = [path.read_bytes() for path in site.kept]
    assert len(kept) == len(contents)
    for content in contents.values():
        assert any(one.endswith(content) for one in kept)


def test_an_answer_is_sent_with_the_bytes_that_pynetdicom_sends(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers() -> list[tuple[int, bytes] | None]:
        journey = Journey(pixel_bytes=0, sizes=[], items=[1], step=10**7, harmless=[], fatal=None)
        return list(travel(site, journey, sop_instance_uid="1.2.3").answers)

    at_once = answers()
    monkeypatch.setattr(SpoolingUpperLayer, "_send_at_once", lambda *_: False)
    assert at_once == answers()
    assert len(at_once) == 2


def test_no_answer_overtakes_one_that_goes_the_long_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = iter(["long"])
    sent = threading.Event()
    really_at_once = SpoolingUpperLayer._send_at_once  # noqa: SLF001 - delayed here
    really = SpoolingUpperLayer._send  # noqa: SLF001 - likewise

    def at_once(layer: SpoolingUpperLayer, data: PDataPrimitive) -> bool:
        if next(ways, "short") == "long":
            wait_for(lambda: len(site.halves) == 2)  # the second is whole, the third has begun
            return False
        is_sent = really_at_once(layer, data)
        sent.set()
        return is_sent

    def late(layer: SpoolingUpperLayer, pdu: object) -> None:
        if isinstance(pdu, P_DATA_TF) and not sent.is_set():
            assert sent.wait(LIMIT_SECONDS)  # until the second answer was sent, or was to wait
        really(layer, pdu)

    monkeypatch.setattr(SpoolingUpperLayer, "_send_at_once", at_once)
    monkeypatch.setattr(SpoolingUpperLayer, "_send", late)
    uids = [f"1.2.{number}" for number in range(3)]
    with Wire(site.port) as wire:
        assert wire.associate(association_request((DX, EXPLICIT)))
        for uid in uids:
            content = dataset(sop_instance_uid=uid)
            wire.send(*store_request(content, sop_class_uid=DX, sop_instance_uid=uid))
        answers = [wire.read_pdu() for _ in uids]
        wire.finish()
    told = [answer[1] for answer in answers if answer is not None]
    assert [uid.encode() in body for uid, body in zip(uids, told, strict=True)] == [True] * 3


def test_an_ordinary_sender_is_never_sent_the_long_way(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_way: list[bytes] = []
    really = SpoolingProvider.receive_primitive

    def receive(provider: SpoolingProvider, primitive: PDataPrimitive) -> None:
        long_way.extend(value for _, value in primitive.presentation_data_value_list)
        really(provider, primitive)

    monkeypatch.setattr(SpoolingProvider, "receive_primitive", receive)
    content = dataset(after_study=explicit(0x7FE00010, "OW", bytes(1_000_000)))
    assert store(site.port, encoded_file(tmp_path / "sent.dcm", content)) == [SUCCESS]
    command, end = long_way
    assert command[:1] == LAST_OF_COMMAND
    assert end == LAST_OF_DATA_SET  # without its data
    (kept,) = site.kept
    assert kept.read_bytes().endswith(content)
