import re
import ssl
from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import Engine

from schemas.config import SyslogProtocol, SyslogSection
from tests.certificates import Authority
from tests.fakes import Clock
from tests.orthanc import free_port
from tests.worker.operations.syslog_server import SyslogServer
from tests.worker.queue.makers import RETRY, arrival, send_all, settled
from worker.operations.audit_feed import AuditFeed
from worker.operations.audit_message import AuditSource
from worker.operations.syslog import AuditRepositoryAwayError, SyslogSender, framed, syslog_line
from worker.queue.audit import AuditTrail
from worker.queue.jobs import JobQueue
from worker.queue.outbox import Outbox

KEY = b"k" * 32
#: RFC 5424, section 6: PRI VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID SD BOM MSG
LINE = re.compile(
    rb"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S+ boneage-worker - DICOM\+RFC3881 - "
    rb"\xef\xbb\xbf(<AuditMessage>.*</AuditMessage>)"
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class House:
    """A trail, its seals and its feed to a server on ``port``."""

    def __init__(self, engine: Engine, clock: Clock, folder: Path) -> None:
        self.queue = JobQueue(engine, now=clock, actor="test", release="r1", retry=RETRY)
        self.outbox = Outbox(engine, now=clock, actor="test")
        self.trail = AuditTrail(engine, now=clock)
        self.folder = folder / "audit-spool"
        self._anchor = folder / "anchor"

    def seal(self) -> int:
        return self.trail.seal(KEY, self._anchor)

    def feed(self, section: SyslogSection) -> AuditFeed:
        source = AuditSource(ae_title="BONEAGE", host="worker-1")
        send = SyslogSender(section=section).send
        return AuditFeed(self.trail, folder=self.folder, source=source, send=send)


@pytest.fixture
def house(engine: Engine, clock: Clock, tmp_path: Path) -> House:
    return House(engine, clock, tmp_path)


def plain(port: int) -> SyslogSection:
    return SyslogSection(host="127.0.0.1", port=port, protocol=SyslogProtocol.TCP)


def told(lines: list[bytes]) -> list[str]:
    """Return the names of the events in these lines."""
    names = []
    for line in lines:
        found = LINE.fullmatch(line)
        assert found, line
        path = "//ParticipantObjectIdentification[@ParticipantObjectTypeCodeRole='20']"
        names += etree.fromstring(found[1]).xpath(f"{path}/ParticipantObjectName/text()")
    return names


LIFE = ["received", "claimed", "settled", "sent", "sent", "delivered"]


def live(house: House, uid: str = "1.2.3") -> None:
    settled(house.queue, uid=uid)
    send_all(house.outbox)
    house.seal()


def test_every_sealed_event_reaches_the_repository_in_its_order(house: House) -> None:
    live(house)
    with SyslogServer() as server:
        assert house.feed(plain(server.port)).hand_on() == len(LIFE)
        assert told(server.lines(len(LIFE))) == LIFE
    assert list(house.folder.iterdir()) == []


def test_nothing_is_handed_on_twice(house: House) -> None:
    live(house)
    with SyslogServer() as server:
        feed = house.feed(plain(server.port))
        feed.hand_on()
        house.queue.receive(arrival("1.2.4"))
        house.seal()

        assert feed.hand_on() == 1
        assert told(server.lines(len(LIFE) + 1))[-1] == "received"


def test_an_event_that_is_not_sealed_waits(house: House) -> None:
    house.queue.receive(arrival())
    with SyslogServer() as server:
        assert house.feed(plain(server.port)).hand_on() == 0


def test_while_the_repository_is_away_messages_wait_in_a_protected_folder(house: House) -> None:
    live(house)
    port = free_port()
    feed = house.feed(plain(port))
    for _ in range(2):
        with pytest.raises(AuditRepositoryAwayError):
            feed.hand_on()

    assert feed.waiting() == len(LIFE)
    assert house.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in house.folder.iterdir()} == {0o600}

    live(house, "1.2.4")
    with SyslogServer(port=port) as server:
        assert feed.hand_on() == 2 * len(LIFE)
        assert told(server.lines(2 * len(LIFE))) == 2 * LIFE


def test_a_spool_that_was_cut_short_loses_nothing(house: House, tmp_path: Path) -> None:
    live(house)
    feed = house.feed(plain(free_port()))
    feed.spool()
    house.trail.mark_exported("syslog", position=2)  # as if it had ended before it could say more

    feed.spool()

    assert feed.waiting() == len(LIFE)
    assert tmp_path.exists()


def server_context(authority: Authority, name: str) -> ssl.SSLContext:
    issued = authority.issue(name, alternatives=f"DNS:{name}")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    return context


def secured(port: int, ca: Path, name: str) -> SyslogSection:
    return SyslogSection(host="127.0.0.1", port=port, ca=ca, host_name=name)


def test_messages_travel_by_tls(house: House, tmp_path: Path) -> None:
    live(house)
    authority = Authority(tmp_path / "ca")
    with SyslogServer(tls=server_context(authority, "audit.test")) as server:
        feed = house.feed(secured(server.port, authority.ca, "audit.test"))

        assert feed.hand_on() == len(LIFE)
        assert told(server.lines(len(LIFE))) == LIFE


@pytest.mark.parametrize("name", ["other.test", "audit.test"])
def test_a_server_that_is_not_the_repository_gets_nothing(
    house: House, tmp_path: Path, name: str
) -> None:
    live(house)
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    signer = ours if name == "other.test" else theirs
    with SyslogServer(tls=server_context(signer, name)) as server:
        feed = house.feed(secured(server.port, ours.ca, "audit.test"))

        with pytest.raises(AuditRepositoryAwayError):
            feed.hand_on()

    assert feed.waiting() == len(LIFE)


def test_a_frame_begins_with_its_length_in_bytes(clock: Clock) -> None:
    line = syslog_line("<a>ä</a>".encode(), at=clock(), host="worker 1")

    assert framed(line).startswith(
        f"{len(line)} <85>1 2026-01-05T03:00:00.000000Z worker1 ".encode()
    )
