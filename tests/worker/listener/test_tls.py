import io
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from schemas.config import ListenerTlsSection
from tests.certificates import Authority, Credentials, calling
from tests.orthanc import wait_for
from tests.worker.listener.conftest import StartSite
from tests.worker.listener.encoding import dataset, explicit
from tests.worker.listener.sending import (
    LIMIT_SECONDS,
    LOOPBACK,
    association,
    connection,
    encoded_file,
    is_closed_by_peer,
    store,
)
from tests.worker.listener.test_syntaxes import dcmtk
from worker.listener.errors import CertificateRefusedError, ListeningPortError
from worker.logs import configure_logging
from worker.tls import TlsFilesError, listening_context

CONTENT = dataset(after_study=explicit(0x7FE00010, "OW", bytes(300_000)))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Credentials:
    return authority.issue("BONEAGE", alternatives="IP:127.0.0.1")


@pytest.fixture(scope="module")
def pacs(authority: Authority) -> Credentials:
    return authority.issue("PACS")


@pytest.fixture
def one_way(ours: Credentials) -> dict[str, object]:
    """Return [listener.tls] of a listener that shows a certificate and asks for none."""
    return {"enabled": True, "certificate": ours.certificate, "key": ours.key}


@pytest.fixture
def mutual(one_way: dict[str, object], authority: Authority) -> dict[str, object]:
    return {**one_way, "client_ca": authority.ca}


def silent_connections(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection((LOOPBACK, port), LIMIT_SECONDS) for _ in range(count)]


# who gets in


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_image_that_comes_by_tls_is_kept(
    start_site: StartSite,
    one_way: dict[str, object],
    authority: Authority,
    version: ssl.TLSVersion,
    tmp_path: Path,
) -> None:
    site = start_site(tls=one_way)
    context = calling(authority)
    context.minimum_version = context.maximum_version = version
    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)

    assert store(site.port, sent, tls=context) == [0x0000]

    assert len(site.jobs) == 1
    assert site.kept[0].read_bytes().endswith(CONTENT)


def test_storescu_of_dcmtk_is_served_by_mutual_tls(
    start_site: StartSite,
    mutual: dict[str, object],
    authority: Authority,
    pacs: Credentials,
    tmp_path: Path,
) -> None:
    site = start_site(tls=mutual)
    sent = encoded_file(tmp_path / "sent.dcm", CONTENT)
    done = dcmtk(
        "storescu",
        *("-aet", "PACS", "-aec", "BONEAGE"),
        *("+tls", str(pacs.key), str(pacs.certificate), "+cf", str(authority.ca)),
        *(LOOPBACK, str(site.port), str(sent)),
    )
    assert done.returncode == 0, done.stderr
    assert len(site.jobs) == 1


def test_without_a_certificate_nobody_gets_in_by_mutual_tls(
    start_site: StartSite, mutual: dict[str, object], authority: Authority
) -> None:
    site = start_site(tls=mutual)
    with association(site.port, tls=calling(authority)) as opened:
        assert not opened.is_established


def test_a_certificate_of_another_authority_lets_nobody_in(
    start_site: StartSite, mutual: dict[str, object], authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "strange", name="Strange Authority").issue("PACS")
    site = start_site(tls=mutual)
    with association(site.port, tls=calling(authority, stranger)) as opened:
        assert not opened.is_established


def test_a_refused_handshake_stands_in_the_audit_trail(
    start_site: StartSite, mutual: dict[str, object], authority: Authority
) -> None:
    site = start_site(tls=mutual)
    context = calling(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the client hears of it in the handshake
    with (
        connection(site.port) as raw,
        pytest.raises(OSError, match=r"alert|EOF|reset"),
        context.wrap_socket(raw, server_hostname=LOOPBACK),
    ):
        pytest.fail("let in without a certificate")
    wait_for(lambda: bool(site.events))

    (event,) = site.events
    assert (event.event, event.reason) == ("association_refused", "association.handshake")
    assert event.detail["peer_address"] == LOOPBACK
    assert event.detail["found"] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_tls_takes_the_place_of_the_plain_port(
    start_site: StartSite, one_way: dict[str, object]
) -> None:
    site = start_site(tls=one_way, acse_timeout_seconds=1)
    with association(site.port) as opened:
        assert not opened.is_established


def test_tls_may_have_a_port_beside_the_plain_one(
    start_site: StartSite, one_way: dict[str, object], authority: Authority
) -> None:
    site = start_site(tls={**one_way, "port": 0})
    assert site.listener.tls_port
    with association(site.port) as opened:
        assert opened.is_established
    with association(site.listener.tls_port, tls=calling(authority)) as opened:
        assert opened.is_established


def test_limits_hold_for_both_ports_together(
    start_site: StartSite, one_way: dict[str, object], authority: Authority
) -> None:
    site = start_site(tls={**one_way, "port": 0}, maximum_associations=1)
    assert site.listener.tls_port
    with (
        association(site.port) as first,
        association(site.listener.tls_port, tls=calling(authority)) as second,
    ):
        assert first.is_established
        assert second.is_rejected


def test_a_port_that_cannot_be_had_leaves_none_open(
    start_site: StartSite, one_way: dict[str, object]
) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        with pytest.raises(ListeningPortError, match=r"in use.*\[listener\.tls\] port"):
            start_site(tls={**one_way, "port": taken.getsockname()[1]})
    assert "listener" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("name", "alternatives", "is_welcome"),
    [
        ("PACS", "", True),
        ("pacs.hospital.test", "DNS:PACS", True),
        ("ROOM", "DNS:room.hospital.test", False),
        ("pacs", "", False),
    ],
)
def test_a_certificate_must_bear_the_calling_ae_title_if_configured(
    start_site: StartSite,
    mutual: dict[str, object],
    authority: Authority,
    *,
    name: str,
    alternatives: str,
    is_welcome: bool,
) -> None:
    site = start_site(tls={**mutual, "match_ae_title": True})
    credentials = authority.issue(name, alternatives=alternatives)
    with association(site.port, tls=calling(authority, credentials)) as opened:
        assert opened.is_established is is_welcome
        assert opened.is_rejected is not is_welcome
    reasons = [event.reason for event in site.events]
    assert reasons == ([] if is_welcome else [CertificateRefusedError.code])


# what is agreed


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_an_old_version_of_tls_is_not_spoken(
    start_site: StartSite, one_way: dict[str, object], authority: Authority
) -> None:
    site = start_site(tls=one_way)
    context = calling(authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with association(site.port, tls=context) as opened:
        assert not opened.is_established


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"])
def test_a_cipher_without_secrecy_or_authentication_is_not_agreed(
    start_site: StartSite, one_way: dict[str, object], authority: Authority, cipher: str
) -> None:
    site = start_site(tls=one_way)
    context = calling(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with association(site.port, tls=context) as opened:
        assert not opened.is_established


# the handshake of one is not the wait of another


@pytest.mark.parametrize("count", [1, 100])
def test_silent_clients_delay_nobody_by_a_second(
    start_site: StartSite, one_way: dict[str, object], authority: Authority, count: int
) -> None:
    site = start_site(tls=one_way, acse_timeout_seconds=60)
    silent = silent_connections(site.port, count)
    try:
        assert seconds_to_open(site.port, calling(authority)) < 1
    finally:
        for each in silent:
            each.close()


def test_clients_that_stop_inside_the_handshake_delay_nobody_by_a_second(
    start_site: StartSite, one_way: dict[str, object], authority: Authority
) -> None:
    site = start_site(tls=one_way, acse_timeout_seconds=60)
    hello = client_hello()
    stuck = silent_connections(site.port, 50)
    try:
        for number, each in enumerate(stuck):
            each.sendall(hello[: 1 + number * len(hello) // 50])
        assert seconds_to_open(site.port, calling(authority)) < 1
    finally:
        for each in stuck:
            each.close()


def test_a_client_that_stays_silent_is_closed_when_its_time_is_over(
    start_site: StartSite, one_way: dict[str, object]
) -> None:
    site = start_site(tls=one_way, acse_timeout_seconds=0.3)
    (silent,) = silent_connections(site.port, 1)
    with silent:
        assert is_closed_by_peer(silent)


def test_a_client_that_agrees_but_asks_for_nothing_is_closed_when_its_time_is_over(
    start_site: StartSite, one_way: dict[str, object], authority: Authority
) -> None:
    site = start_site(tls=one_way, acse_timeout_seconds=0.3)
    (raw,) = silent_connections(site.port, 1)
    with calling(authority).wrap_socket(raw, server_hostname=LOOPBACK) as agreed:
        assert is_closed_by_peer(agreed)


def test_silent_clients_do_not_hold_up_a_stop(
    start_site: StartSite, one_way: dict[str, object]
) -> None:
    site = start_site(tls=one_way, acse_timeout_seconds=60)
    silent = silent_connections(site.port, 5)
    try:
        before = time.monotonic()
        site.listener.stop()
        assert time.monotonic() - before < 4
        assert is_closed_by_peer(silent[0])
    finally:
        for each in silent:
            each.close()


# files


def test_files_that_cannot_be_used_are_named_at_the_start(
    start_site: StartSite, ours: Credentials, tmp_path: Path
) -> None:
    with pytest.raises(TlsFilesError, match=r"nowhere\.pem"):
        start_site(tls={"enabled": True, "certificate": tmp_path / "nowhere.pem", "key": ours.key})


def test_a_key_of_another_certificate_is_refused(ours: Credentials, pacs: Credentials) -> None:
    section = ListenerTlsSection(enabled=True, certificate=ours.certificate, key=pacs.key)
    with pytest.raises(TlsFilesError, match="KEY_VALUES_MISMATCH"):
        listening_context(section)


def test_a_key_with_a_password_is_refused_without_a_question(
    ours: Credentials, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "rsa", "-aes128", "-passout", "pass:secret", "-in", ours.key, "-out", locked],
        check=True,
        capture_output=True,
    )
    section = ListenerTlsSection(enabled=True, certificate=ours.certificate, key=locked)
    with pytest.raises(TlsFilesError, match="without a password"):
        listening_context(section)


def test_authorities_that_are_no_certificates_are_refused(
    ours: Credentials, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    section = ListenerTlsSection(
        enabled=True, certificate=ours.certificate, key=ours.key, client_ca=tmp_path / "ca.pem"
    )
    with pytest.raises(TlsFilesError, match=r"ca\.pem"):
        listening_context(section)


def test_what_a_stranger_sends_to_the_port_for_tls_is_not_logged(
    start_site: StartSite, one_way: dict[str, object]
) -> None:
    stream = io.StringIO()
    configure_logging(level="debug", strict=True, json_lines=True, stream=stream)
    site = start_site(tls=one_way)
    (raw,) = silent_connections(site.port, 1)
    with raw:
        raw.sendall(b"GET /CANARYSON HTTP/1.1\r\n\r\n")
        assert is_closed_by_peer(raw)
    wait_for(lambda: "association.handshake" in stream.getvalue())
    assert "CANARYSON" not in stream.getvalue()


def seconds_to_open(port: int, context: ssl.SSLContext) -> float:
    """Return how long an association takes at best, whatever else this machine is at."""
    taken = []
    for _ in range(3):
        before = time.monotonic()
        with association(port, tls=context) as opened:
            taken.append(time.monotonic() - before)
            assert opened.is_established
    return min(taken)


def client_hello() -> bytes:
    """Return the first flight of a TLS client, made without a network."""
    written = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), written, server_hostname="boneage.test"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return written.read()
