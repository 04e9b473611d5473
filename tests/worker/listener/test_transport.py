import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from struct import pack
from types import SimpleNamespace
from typing import cast

import pynetdicom
import pytest
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from tests.orthanc import wait_for
from tests.worker.listener.conftest import Site, StartSite
from tests.worker.listener.encoding import DX, EXPLICIT, dataset, explicit
from tests.worker.listener.sending import (
    LIMIT_SECONDS,
    LOOPBACK,
    association,
    connection,
    encoded_file,
    is_closed_by_peer,
    store,
    undisturbed,
)
from worker.listener.errors import ListeningPortError, UntestedLibraryError
from worker.listener.server import MOST_HALF_OPEN, MOST_HALF_OPEN_BY_ADDRESS
from worker.listener.spool import FileMeta, IncomingFile, Spool
from worker.listener.transport import (
    HEAD_BYTES,
    LONGEST_PDU_BYTES,
    GuardedReader,
    require_tested_library,
)

PIXELS = explicit(0x7FE00010, "OW", bytes(100_000))
CONTENT = dataset(after_study=PIXELS)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Knows when halves come and go."""

    opened: threading.Event = field(default_factory=threading.Event)
    discarded: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    really_open, really_discard = Spool.open, IncomingFile.discard

    def open_and_tell(
        spool: Spool, meta: FileMeta, memory: memoryview, *, limit_bytes: int
    ) -> IncomingFile:
        incoming = really_open(spool, meta, memory, limit_bytes=limit_bytes)
        watch.opened.set()
        return incoming

    def discard_and_tell(incoming: IncomingFile) -> None:
        really_discard(incoming)
        watch.discarded.set()

    monkeypatch.setattr(Spool, "open", open_and_tell)
    monkeypatch.setattr(IncomingFile, "discard", discard_and_tell)
    return watch


def raw_socket(opened: Association) -> socket.socket:
    """Return the connection below an association, for a sender that misbehaves."""
    assert opened.dul.socket is not None
    assert opened.dul.socket.socket is not None
    return opened.dul.socket.socket


def store_pdus(opened: Association, content: bytes, *, size: int = 16_000) -> list[bytes]:
    """Return one C-STORE request as encoded PDUs: the command, then the data set in parts."""
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = UID(DX)
    request.AffectedSOPInstanceUID = UID("1.2.3")
    request.DataSet = BytesIO(content)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    (context,) = opened.accepted_contexts
    encoded = []
    for primitive in message.encode_msg(context.context_id or 0, size):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        encoded.append(pdu.encode())
    return encoded


def status_of(opened: Association) -> int | None:
    _, answer = opened.dimse.get_msg(block=True)
    return answer.Status if isinstance(answer, C_STORE) else None


def test_a_pdu_longer_than_any_peer_needs_closes_the_connection_unread(site: Site) -> None:
    with connection(site.port) as opened:
        opened.sendall(pack(">BBL", 1, 0, 300_000_000))
        assert is_closed_by_peer(opened)


def test_a_long_pdu_inside_an_association_leaves_nothing(watch: Watch, site: Site) -> None:
    with association(site.port) as opened:
        raw = raw_socket(opened)
        raw.sendall(store_pdus(opened, CONTENT)[0])
        raw.sendall(pack(">BBL", 4, 0, LONGEST_PDU_BYTES + 1))
        assert watch.discarded.wait(LIMIT_SECONDS)
    assert (site.halves, site.jobs) == ([], [])


def test_silent_connections_do_not_keep_a_sender_out(site: Site, tmp_path: Path) -> None:
    silent = [socket.create_connection((LOOPBACK, site.port), LIMIT_SECONDS) for _ in range(80)]
    try:
        assert store(site.port, encoded_file(tmp_path / "sent.dcm", dataset())) == [0x0000]
    finally:
        for opened in silent:
            opened.close()


def test_a_connection_that_stays_silent_is_closed(start_site: StartSite) -> None:
    site = start_site(acse_timeout_seconds=0.2)
    with connection(site.port) as opened:
        assert is_closed_by_peer(opened)


def test_a_peer_that_stops_inside_its_request_is_cut_off(start_site: StartSite) -> None:
    site = start_site(acse_timeout_seconds=0.2)
    with connection(site.port) as opened:
        opened.sendall(pack(">BBL", 1, 0, 500) + b"half")
        assert is_closed_by_peer(opened)


def test_a_sender_that_stops_inside_an_object_is_cut_off_without_a_trace(
    watch: Watch, start_site: StartSite
) -> None:
    site = start_site(network_timeout_seconds=0.3)
    with association(site.port) as opened:
        raw = raw_socket(opened)
        first, second, *_ = store_pdus(opened, CONTENT)
        raw.sendall(first + second[:-10])
        assert watch.opened.wait(LIMIT_SECONDS)
        assert watch.discarded.wait(LIMIT_SECONDS)
    assert (site.halves, site.jobs) == ([], [])


def test_a_sender_that_trickles_is_cut_off_when_its_time_is_over(
    watch: Watch, start_site: StartSite
) -> None:
    site = start_site(message_timeout_seconds=0.5)  # and 120 s between two PDUs
    with association(site.port) as opened:
        command, *_ = store_pdus(opened, CONTENT)
        (context,) = opened.accepted_contexts
        crumb = pack(">BBLLBB", 4, 0, 8, 4, context.context_id or 0, 0) + b"\0\0"
        raw = raw_socket(opened)
        raw.sendall(command)
        with pytest.raises(OSError, match=r"reset|pipe|descriptor"):  # noqa: PT012 - until it ends
            while True:
                raw.sendall(crumb)
        assert watch.discarded.wait(LIMIT_SECONDS)
    assert (site.halves, site.jobs) == ([], [])
    (event,) = site.events
    assert (event.event, event.reason) == ("receive_overdue", "receive.too_slow")
    assert event.detail["calling_ae"] == "PACS"


def test_a_message_that_stops_inside_a_pdu_is_cut_off_when_its_time_is_over(
    start_site: StartSite,
) -> None:
    site = start_site(message_timeout_seconds=0.5)
    with association(site.port) as opened:
        (context,) = opened.accepted_contexts
        begun = pack(">BBLLBB", 4, 0, 8, 4, context.context_id or 0, 1) + b"\0\0"
        raw_socket(opened).sendall(begun + b"\4\0\0")
        opened.join(LIMIT_SECONDS)
        assert not opened.is_alive()
    assert [event.event for event in site.events] == ["receive_overdue"]


def test_a_peer_that_neither_sends_nor_reads_holds_up_nobody() -> None:
    waiting = Association(AE(), "acceptor")
    waiting.acse_timeout = 0.05
    too_slow: list[Association] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader = GuardedReader(waiting, ours, on_too_slow=too_slow.append)
        with pytest.raises(TimeoutError):
            reader.recv(10)
        with pytest.raises(OSError, match="temporarily unavailable"):
            ours.sendall(bytes(10_000_000))
    assert too_slow == [waiting]


def test_a_long_request_for_an_association_is_not_gathered(site: Site) -> None:
    with connection(site.port) as opened:
        opened.sendall(pack(">BBL", 1, 0, 1_000_000))
        assert is_closed_by_peer(opened)


@pytest.mark.parametrize("said", [b"", b"\1", b"GET / HTTP/1.0\r\n\r\n"])
def test_a_connection_that_has_gone_holds_no_place(start_site: StartSite, said: bytes) -> None:
    site = start_site(acse_timeout_seconds=300)
    for _ in range(MOST_HALF_OPEN_BY_ADDRESS + 5):
        with connection(site.port) as opened:
            opened.sendall(said)
            opened.shutdown(socket.SHUT_WR)
            assert is_closed_by_peer(opened)
    wait_for(lambda: not any("Acceptor" in thread.name for thread in threading.enumerate()))
    with association(site.port) as opened:
        assert opened.is_established


def test_one_address_cannot_take_every_place_of_those_who_only_connect(site: Site) -> None:
    silent = [
        socket.create_connection((LOOPBACK, site.port), LIMIT_SECONDS, ("127.0.0.2", 0))
        for _ in range(MOST_HALF_OPEN + 10)
    ]
    try:
        assert is_closed_by_peer(silent[-1])
        with association(site.port) as opened:
            assert opened.is_established
    finally:
        for each in silent:
            each.close()


def test_a_sender_that_falls_silent_between_two_pdus_leaves_nothing(
    watch: Watch, start_site: StartSite
) -> None:
    site = start_site(network_timeout_seconds=0.3)
    with association(site.port) as opened:
        raw_socket(opened).sendall(b"".join(store_pdus(opened, CONTENT)[:3]))
        assert watch.discarded.wait(LIMIT_SECONDS)
    assert (site.halves, site.jobs) == ([], [])


def test_a_connection_that_breaks_inside_an_object_leaves_nothing(watch: Watch, site: Site) -> None:
    with association(site.port) as opened:
        raw = raw_socket(opened)
        raw.sendall(b"".join(store_pdus(opened, CONTENT)[:3]))
        assert watch.opened.wait(LIMIT_SECONDS)
        raw.shutdown(socket.SHUT_RDWR)
        assert watch.discarded.wait(LIMIT_SECONDS)
    assert (site.halves, site.jobs, site.kept) == ([], [], [])


def test_half_a_study_is_read_as_far_as_it_came(watch: Watch, site: Site, tmp_path: Path) -> None:
    """Each image is a job of its own: nobody waits for a study to be whole or quiet."""
    whole = []
    for uid in ("1.2.31", "1.2.32"):
        meta = FileMeta(sop_class_uid=DX, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT)
        content = dataset(sop_instance_uid=uid, study_instance_uid="1.2.3", after_study=PIXELS)
        whole.append(encoded_file(tmp_path / f"{uid}.dcm", content, meta))
    assert store(site.port, *whole) == [0x0000, 0x0000]
    with association(site.port) as opened:
        watch.opened.clear()
        watch.discarded.clear()
        raw_socket(opened).sendall(b"".join(store_pdus(opened, CONTENT)[:3]))
        assert watch.opened.wait(LIMIT_SECONDS)
        opened.abort()
        assert watch.discarded.wait(LIMIT_SECONDS)

    claims = [site.queue.claim(lease=timedelta(minutes=1)) for _ in range(3)]

    assert [claim and claim.sop_instance_uid for claim in claims] == ["1.2.31", "1.2.32", None]
    assert {job.study_instance_uid for job in site.jobs} == {"1.2.3"}


def test_an_abort_inside_an_object_leaves_nothing(watch: Watch, site: Site) -> None:
    with association(site.port) as opened:
        raw_socket(opened).sendall(b"".join(store_pdus(opened, CONTENT)[:3]))
        assert watch.opened.wait(LIMIT_SECONDS)
        opened.abort()
        assert watch.discarded.wait(LIMIT_SECONDS)
    assert (site.halves, site.jobs, site.kept) == ([], [], [])


def test_command_and_data_in_one_pdu_are_kept(site: Site) -> None:
    with association(site.port) as opened:
        command, *data = store_pdus(opened, dataset())
        items = b"".join(pdu[6:] for pdu in (command, *data))
        with undisturbed(opened):
            raw_socket(opened).sendall(pack(">BBL", 4, 0, len(items)) + items)
            assert status_of(opened) == 0x0000
    assert len(site.jobs) == 1


@pytest.mark.parametrize(
    "control",
    [
        pytest.param(0x00, id="data without a command"),
        pytest.param(0x02, id="data without a command, complete"),
        pytest.param(0x01, id="a command that never ends"),
    ],
)
def test_a_message_without_sense_is_cut_off_in_little_memory(site: Site, control: int) -> None:
    with association(site.port) as opened:
        (context,) = opened.accepted_contexts
        payload = bytes([context.context_id or 0, control]) + bytes(100_000)
        fragment = pack(">BBLL", 4, 0, len(payload) + 4, len(payload)) + payload
        raw = raw_socket(opened)
        with pytest.raises(OSError, match=r"reset|pipe|descriptor"):  # noqa: PT012 - until it ends
            for _ in range(1000):
                raw.sendall(fragment)
    with association(site.port) as opened:
        assert opened.is_established


def test_a_message_that_cannot_be_decoded_is_cut_off(site: Site) -> None:
    with association(site.port) as opened:
        (context,) = opened.accepted_contexts
        payload = bytes([context.context_id or 0, 0x03]) + b"\xff" * 500
        raw_socket(opened).sendall(pack(">BBLL", 4, 0, len(payload) + 4, len(payload)) + payload)
        opened.join(LIMIT_SECONDS)
        assert opened.is_aborted


def test_a_busy_association_may_finish_when_the_listener_stops(watch: Watch, site: Site) -> None:
    with association(site.port) as opened:
        first, *rest = store_pdus(opened, CONTENT)
        raw_socket(opened).sendall(first)
        assert watch.opened.wait(LIMIT_SECONDS)
        stopping = threading.Thread(target=site.listener.stop)
        stopping.start()
        with undisturbed(opened):
            raw_socket(opened).sendall(b"".join(rest))
            assert status_of(opened) == 0x0000
        stopping.join(LIMIT_SECONDS)
    assert not site.listener.is_listening
    assert len(site.jobs) == 1


def test_idle_associations_do_not_hold_up_a_stop(site: Site) -> None:
    with association(site.port) as first, association(site.port) as second:
        with connection(site.port) as silent:
            before = time.monotonic()
            site.listener.stop()
            assert time.monotonic() - before < 4  # the time-outs are 5 s and more
            assert is_closed_by_peer(silent)
        for opened in (first, second):
            opened.join(LIMIT_SECONDS)
            assert opened.is_aborted


def test_another_pynetdicom_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynetdicom, "__version__", "3.1.0")
    with pytest.raises(UntestedLibraryError, match=r"3\.0"):
        require_tested_library()


def test_a_listener_cannot_have_a_port_that_is_taken(start_site: StartSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(ListeningPortError, match="in use") as raised:
            start_site(port=port)

    assert f"127.0.0.1, port {port}" in str(raised.value)
    assert "[listener] port" in str(raised.value)
    assert start_site().listener.is_listening  # the storage root was let go


def test_an_echo_is_answered_while_an_object_arrives(watch: Watch, site: Site) -> None:
    verification = (("1.2.840.10008.1.1", ImplicitVRLittleEndian),)
    with association(site.port) as sender:
        raw_socket(sender).sendall(store_pdus(sender, CONTENT)[0])
        assert watch.opened.wait(LIMIT_SECONDS)
        with association(site.port, contexts=verification) as other:
            assert other.send_c_echo().Status == 0x0000


HEAD = b"head of it.."
DATA_BYTES = 100


@contextmanager
def reader_of(sent: bytes) -> Iterator[GuardedReader]:
    """Give the reader of an association whose peer has sent this already, and gone."""
    waiting = cast(
        "Association", SimpleNamespace(is_established=True, network_timeout=5, dimse=None)
    )
    theirs, ours = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(sent)
        yield GuardedReader(waiting, ours, on_too_slow=lambda _: None)


def read_alike(reader: GuardedReader, *, room_bytes: int) -> tuple[bytes, int]:
    """Return all data of PDUs that are alike, and in how many reads they came."""
    data, reads = b"", 0
    while reader.peek(HEAD_BYTES, kind=HEAD[0]) == HEAD:
        reader.forget(HEAD_BYTES)
        left = DATA_BYTES
        while left:
            room = memoryview(bytearray(room_bytes))
            try:
                count, left = reader.take_into(room, left=left, alike=HEAD, length=DATA_BYTES)
            except ConnectionResetError:  # the peer went in the middle of one
                return data, reads
            data, reads = data + bytes(room[:count]), reads + 1
    return data, reads


def pdus_alike(count: int) -> bytes:
    return b"".join(HEAD + bytes([number]) * DATA_BYTES for number in range(count))


@pytest.mark.parametrize("room_bytes", [99, 100, 101, 199, 200, 201, 250, 300, 900, 5_000])
@pytest.mark.parametrize(
    "behind", [b"", b"he", HEAD, HEAD + b"half", b"other head! and more" * 20, b"HEAD of it.." * 40]
)
def test_pdus_that_are_alike_are_read_at_once_and_what_is_not_is_left(
    room_bytes: int, behind: bytes
) -> None:
    with reader_of(pdus_alike(4) + behind) as reader:
        data, reads = read_alike(reader, room_bytes=room_bytes)
        left_over = bytes(reader.recv(LONGEST_PDU_BYTES))

    wanted = b"".join(bytes([number]) * DATA_BYTES for number in range(4))
    is_begun = behind.startswith(HEAD)
    assert data == wanted + (behind[HEAD_BYTES:] if is_begun else b"")
    assert left_over == (b"" if is_begun else behind)
    if room_bytes >= 5 * DATA_BYTES:
        assert reads == 1


def test_an_answer_to_a_peer_that_has_gone_ends_the_connection() -> None:
    with reader_of(b"") as reader:
        assert reader.answer(b"\4" * 100)  # not for the reactor to send once more
        assert reader.recv(1) == b""


def test_an_answer_goes_out_whole_while_another_thread_reads() -> None:
    theirs, ours = socket.socketpair()
    waiting = cast(
        "Association", SimpleNamespace(is_established=True, network_timeout=5, dimse=None)
    )
    with theirs, ours, ThreadPoolExecutor(1) as pool:
        reader = GuardedReader(waiting, ours, on_too_slow=lambda _: None)
        reading = pool.submit(reader.recv, 4)
        assert reader.answer(b"answer")
        assert theirs.recv(6, socket.MSG_WAITALL) == b"answer"
        theirs.sendall(b"sent")
        assert reading.result(timeout=5) == b"sent"
