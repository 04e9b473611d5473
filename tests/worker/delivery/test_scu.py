import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import pytest
from pydicom import dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, evt

from schemas.config import PeerSection
from tests.builders import hand_radiograph, write_file
from tests.fakes import Drop, FakePacs
from worker.delivery.errors import NoAnswerError, PeerUnreachableError
from worker.delivery.scu import (
    VERIFICATION,
    Association,
    StoredObject,
    open_association,
)

DX = str(DigitalXRayImageStorageForPresentation)


@pytest.fixture
def image(tmp_path: Path) -> StoredObject:
    dataset = hand_radiograph()
    return StoredObject(
        path=write_file(dataset, tmp_path / "image.dcm"),
        sop_class_uid=DX,
        sop_instance_uid=dataset.SOPInstanceUID,
        transfer_syntax_uid=dataset.file_meta.TransferSyntaxUID,
    )


def associate(port: int, *, answer_seconds: float = 20, host: str = "127.0.0.1") -> Association:
    return open_association(
        PeerSection(name="pacs", ae_title="PACS", host=host, port=port),
        ae_title="BONEAGE",
        sop_class_uids=[DX, ComprehensiveSRStorage],
        connect_timeout_seconds=5,
        answer_seconds=answer_seconds,
    )


def test_a_file_arrives_as_it_lies_on_disk(pacs: FakePacs, image: StoredObject) -> None:
    association = associate(pacs.port)

    assert association.store(image) == 0x0000

    association.release()
    assert pacs.stored[image.sop_instance_uid] == dcmread(image.path)
    assert pacs.requests[0].calling_ae == "BONEAGE"


def test_the_status_of_the_peer_comes_back(pacs: FakePacs, image: StoredObject) -> None:
    pacs.answer(0xA700)
    association = associate(pacs.port)

    assert [association.store(image), association.store(image)] == [0xA700, 0x0000]
    association.release()


def test_a_peer_that_knows_only_implicit_vr_gets_implicit_vr(image: StoredObject) -> None:
    taken = []

    def handle_store(event: evt.Event) -> int:
        taken.append((event.context.transfer_syntax, event.dataset))
        return 0x0000

    entity = AE("PACS")
    entity.add_supported_context(DX, ImplicitVRLittleEndian)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle_store)]
    )
    assert server is not None
    association = associate(server.server_address[1])

    assert association.store(image) == 0x0000

    association.release()
    entity.shutdown()
    assert taken == [(ImplicitVRLittleEndian, dcmread(image.path))]


def test_a_rejected_class_is_known_before_anything_is_sent(pacs: FakePacs) -> None:
    pacs.refuse(ComprehensiveSRStorage)
    association = associate(pacs.port)

    assert [association.takes(DX), association.takes(ComprehensiveSRStorage)] == [True, False]
    association.release()


def test_a_peer_that_rejects_every_class_takes_nothing(pacs: FakePacs) -> None:
    pacs.refuse(DX, ComprehensiveSRStorage)
    association = associate(pacs.port)

    assert not association.is_open
    assert not association.takes(DX)


def test_nobody_at_the_address_is_unreachable(pacs: FakePacs) -> None:
    pacs.go_down()

    with pytest.raises(PeerUnreachableError, match="nobody listens"):
        associate(pacs.port)


def test_a_name_that_cannot_be_resolved_is_unreachable() -> None:
    with pytest.raises(PeerUnreachableError, match="resolved"):
        associate(104, host="no-such-host.invalid")


def test_a_rejection_says_what_the_peer_said(pacs: FakePacs) -> None:
    pacs.know_only("SOMEBODY")

    with pytest.raises(PeerUnreachableError, match="Calling AE title not recognised"):
        associate(pacs.port)


@pytest.mark.parametrize("drop", list(Drop))
def test_a_cut_transfer_has_no_answer(pacs: FakePacs, image: StoredObject, drop: Drop) -> None:
    pacs.drop(drop)
    association = associate(pacs.port)

    with pytest.raises(NoAnswerError):
        association.store(image)
    with pytest.raises(NoAnswerError):  # and it is not used again
        association.store(image)


def test_a_peer_that_never_answers_is_cut_at_the_limit(pacs: FakePacs, image: StoredObject) -> None:
    pacs.hold()
    association = associate(pacs.port, answer_seconds=0.2)

    with pytest.raises(NoAnswerError):
        association.store(image)


def test_another_thread_can_cut_a_transfer(pacs: FakePacs, image: StoredObject) -> None:
    pacs.hold()
    association = associate(pacs.port, answer_seconds=200)

    def cut_when_it_waits() -> None:
        pacs.wait_for(lambda each: each.held_count > 0)
        association.abort()

    other = threading.Thread(target=cut_when_it_waits)
    other.start()

    with pytest.raises(NoAnswerError):
        association.store(image)
    other.join()


def test_a_peer_that_stops_reading_does_not_hold_us_for_ever(
    pacs: FakePacs, tmp_path: Path
) -> None:
    large = hand_radiograph(PixelData=bytes(40_000_000), Rows=4000, Columns=5000)
    file = StoredObject(
        path=write_file(large, tmp_path / "large.dcm"),
        sop_class_uid=DX,
        sop_instance_uid=large.SOPInstanceUID,
        transfer_syntax_uid=large.file_meta.TransferSyntaxUID,
    )
    pacs.stop_reading()
    association = associate(pacs.port, answer_seconds=0.5)

    with pytest.raises(NoAnswerError):
        association.store(file)


class SlowLine:
    """A line to ``port`` that lets a few bytes through at a time, so that none is ever silent."""

    # there: fewer than that, the kernel would not call progress
    _SLOW_BYTES: ClassVar = {"there": 16384, "back": 1}

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_over = threading.Event()
        self._slow = {"there": False, "back": False}
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port = self._listening.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._join_ends)

    def slow_down(self, way: str) -> None:
        self._slow[way] = True

    def close(self) -> None:
        self._is_over.set()
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _join_ends(self) -> None:
        ours, _ = self._listening.accept()
        theirs = socket.create_connection(("127.0.0.1", self._port))
        for end in (ours, theirs):
            end.settimeout(0.05)
        self._start(self._carry, ours, theirs, "there")
        self._carry(theirs, ours, "back")
        ours.close()
        theirs.close()

    def _carry(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with suppress(OSError):
            while not self._is_over.is_set():
                try:
                    got = source.recv(65536)
                except TimeoutError:
                    continue
                if not got:
                    break
                self._pass_on(got, target, way)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _pass_on(self, got: bytes, target: socket.socket, way: str) -> None:
        """Slow or not is asked after the receive: a fast peer's answer is there before it began."""
        while got and not self._is_over.is_set():
            size = self._SLOW_BYTES[way] if self._slow[way] else len(got)
            target.sendall(got[:size])
            got = got[size:]
            if self._slow[way]:
                self._is_over.wait(0.05)


@contextmanager
def slow_line(port: int) -> Iterator[SlowLine]:
    with closing(SlowLine(port)) as line:
        yield line


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_peer_that_moves_a_byte_now_and_then_is_cut_at_the_limit(
    pacs: FakePacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Each byte is a sign of life to the socket: its own limits would wait for hours."""
    monkeypatch.setattr("worker.delivery.scu.SLOWEST_BYTES_PER_SECOND", 1e9)
    large = hand_radiograph(PixelData=bytes(12_000_000), Rows=2000, Columns=3000)
    file = StoredObject(
        path=write_file(large, tmp_path / "large.dcm"),
        sop_class_uid=DX,
        sop_instance_uid=large.SOPInstanceUID,
        transfer_syntax_uid=large.file_meta.TransferSyntaxUID,
    )
    with slow_line(pacs.port) as line:
        association = associate(line.port, answer_seconds=1)
        line.slow_down(way)
        began = time.monotonic()

        with pytest.raises(NoAnswerError):
            association.store(file)

        assert time.monotonic() - began < 8


def test_a_peer_that_negotiates_byte_by_byte_is_unreachable(pacs: FakePacs) -> None:
    with slow_line(pacs.port) as line:
        line.slow_down("back")
        began = time.monotonic()

        with pytest.raises(PeerUnreachableError, match="did not answer in time"):
            open_association(
                PeerSection(name="pacs", ae_title="PACS", port=line.port),
                ae_title="BONEAGE",
                sop_class_uids=[DX],
                connect_timeout_seconds=0.5,
            )

        assert time.monotonic() - began < 8


def test_an_echo_is_answered(pacs: FakePacs) -> None:
    association = open_association(
        PeerSection(name="pacs", ae_title="PACS", port=pacs.port),
        ae_title="BONEAGE",
        sop_class_uids=[VERIFICATION],
        connect_timeout_seconds=5,
    )

    assert association.echo() == 0x0000

    association.release()
    with pytest.raises(NoAnswerError):
        association.echo()
