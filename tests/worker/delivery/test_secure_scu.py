import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from schemas.config import PeerSection, PeerTlsSection
from tests.builders import hand_radiograph, write_file
from tests.certificates import Authority, Credentials
from worker.delivery.errors import PeerUnreachableError
from worker.delivery.scu import Association, StoredObject, open_association
from worker.operations.peer import PeerAwayError, echo, send_files

DX = str(DigitalXRayImageStorageForPresentation)
VERIFICATION = "1.2.840.10008.1.1"
StartPacs = Callable[[Credentials], int]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Credentials:
    return authority.issue("pacs", alternatives="IP:127.0.0.1,DNS:pacs.hospital.test")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Credentials:
    return authority.issue("BONEAGE")


@pytest.fixture
def start_pacs(authority: Authority) -> Iterator[StartPacs]:
    """Start a PACS that speaks mutual TLS and takes everything."""
    entity = AE("PACS")
    entity.add_supported_context(DX, ExplicitVRLittleEndian)
    entity.add_supported_context(VERIFICATION)

    def start(credentials: Credentials) -> int:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(credentials.certificate, credentials.key)
        server = entity.start_server(
            ("127.0.0.1", 0),
            block=False,
            ssl_context=context,
            evt_handlers=[(evt.EVT_C_STORE, lambda _event: 0x0000)],
        )
        assert server is not None
        return int(server.server_address[1])

    yield start
    entity.shutdown()


@pytest.fixture
def image(tmp_path: Path) -> StoredObject:
    dataset = hand_radiograph()
    return StoredObject(
        path=write_file(dataset, tmp_path / "image.dcm"),
        sop_class_uid=DX,
        sop_instance_uid=dataset.SOPInstanceUID,
        transfer_syntax_uid=dataset.file_meta.TransferSyntaxUID,
    )


def secure_peer(
    port: int, authority: Authority, ours: Credentials | None = None, *, host_name: str = ""
) -> PeerSection:
    tls = PeerTlsSection(
        ca=authority.ca,
        certificate=ours.certificate if ours else None,
        key=ours.key if ours else None,
        host_name=host_name,
    )
    return PeerSection(name="pacs", ae_title="PACS", port=port, tls=tls)


def associate(peer: PeerSection, *, seconds: float = 10) -> Association:
    return open_association(
        peer,
        ae_title="BONEAGE",
        sop_class_uids=[DX],
        connect_timeout_seconds=seconds,
        answer_seconds=seconds,
    )


@pytest.mark.parametrize("host_name", ["", "pacs.hospital.test"])
def test_an_object_goes_out_by_mutual_tls(
    start_pacs: StartPacs,
    authority: Authority,
    theirs: Credentials,
    ours: Credentials,
    image: StoredObject,
    host_name: str,
) -> None:
    peer = secure_peer(start_pacs(theirs), authority, ours, host_name=host_name)
    association = associate(peer)

    assert association.store(image) == 0x0000

    association.release()


def test_an_operator_sends_and_echoes_by_tls_too(
    start_pacs: StartPacs,
    authority: Authority,
    theirs: Credentials,
    ours: Credentials,
    image: StoredObject,
) -> None:
    peer = secure_peer(start_pacs(theirs), authority, ours)

    assert echo(peer, calling_ae="BONEAGE").status == 0x0000
    (sent,) = send_files([image.path], peer=peer, calling_ae="BONEAGE")
    assert sent.status == 0x0000


def test_a_certificate_that_bears_another_name_is_not_trusted(
    start_pacs: StartPacs, authority: Authority, theirs: Credentials, ours: Credentials
) -> None:
    port = start_pacs(theirs)
    with pytest.raises(PeerUnreachableError, match="Hostname mismatch"):
        associate(secure_peer(port, authority, ours, host_name="archive.hospital.test"))


def test_a_certificate_of_another_authority_is_not_trusted(
    start_pacs: StartPacs, authority: Authority, ours: Credentials, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "strange", name="Strange Authority").issue(
        "pacs", alternatives="IP:127.0.0.1"
    )
    port = start_pacs(stranger)
    with pytest.raises(PeerUnreachableError, match="unable to get local issuer certificate"):
        associate(secure_peer(port, authority, ours))
    with pytest.raises(PeerAwayError, match="by TLS"):
        echo(secure_peer(port, authority, ours), calling_ae="BONEAGE")


def test_a_peer_that_wants_to_see_a_certificate_does_not_let_us_in_without(
    start_pacs: StartPacs, authority: Authority, theirs: Credentials
) -> None:
    port = start_pacs(theirs)
    with pytest.raises(PeerUnreachableError):
        associate(secure_peer(port, authority))


def test_files_that_are_gone_make_the_peer_unreachable_for_now(
    authority: Authority, tmp_path: Path
) -> None:
    gone = Credentials(certificate=tmp_path / "gone.pem", key=tmp_path / "gone.key")
    with pytest.raises(PeerUnreachableError, match=r"gone\.pem"):
        associate(secure_peer(1, authority, gone))


def test_a_peer_that_falls_silent_inside_a_message_is_given_up_in_time(
    authority: Authority, theirs: Credentials
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(theirs.certificate, theirs.key)
    over = threading.Event()

    def fall_silent(listening: socket.socket) -> None:
        accepted, _ = listening.accept()
        with context.wrap_socket(accepted, server_side=True) as secured:
            secured.recv(6)
            secured.sendall(b"\2\0\0")  # half a head of an answer
            over.wait(20)

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=fall_silent, args=(listening,))
        thread.start()
        try:
            with pytest.raises(PeerUnreachableError, match="did not answer in time"):
                associate(secure_peer(listening.getsockname()[1], authority), seconds=1)
        finally:
            over.set()
            thread.join(20)
