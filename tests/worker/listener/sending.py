"""A sender of files as they are: bytes that no library has tidied."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, _config
from pynetdicom.association import Association

from tests.worker.listener.encoding import DX, EXPLICIT
from worker.listener.spool import FileMeta

LOOPBACK = "127.0.0.1"
LIMIT_SECONDS = 20


def encoded_file(path: Path, content: bytes, meta: FileMeta | None = None) -> Path:
    """Write a DICOM file around ``content``; none: announced as instance 1.2.3, DX, explicit VR."""
    announced = meta or FileMeta(
        sop_class_uid=DX, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT
    )
    path.write_bytes(announced.encode() + content)
    return path


@contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    with closing(socket.create_connection((LOOPBACK, port), LIMIT_SECONDS)) as opened:
        yield opened


def is_closed_by_peer(opened: socket.socket) -> bool:
    try:
        while opened.recv(4096):
            pass
    except ConnectionError:
        return True
    return True


@contextmanager
def association(
    port: int,
    *,
    calling_ae: str = "PACS",
    called_ae: str = "BONEAGE",
    address: str = LOOPBACK,
    contexts: Sequence[tuple[str, str]] = ((DX, EXPLICIT),),
    tls: ssl.SSLContext | None = None,
) -> Iterator[Association]:
    """Open an association that proposes each (SOP class, transfer syntax) by itself.

    On Linux every ``address`` in 127.0.0.0/8 is one of this machine.
    """
    application = AE(calling_ae)
    application.acse_timeout = application.dimse_timeout = application.network_timeout = 20
    for sop_class_uid, transfer_syntax_uid in contexts:
        application.add_requested_context(sop_class_uid, transfer_syntax_uid)
    opened = application.associate(
        LOOPBACK,
        port,
        ae_title=called_ae,
        bind_address=(address, 0),
        tls_args=(tls, LOOPBACK) if tls else None,
    )
    raw = opened.dul.socket.socket if opened.dul.socket else None
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()
        if opened.is_alive():
            opened.join(20)
        if raw is not None:
            raw.close()  # pynetdicom leaves it open where the peer was the first to close


def store(
    port: int, *paths: Path, calling_ae: str = "PACS", tls: ssl.SSLContext | None = None
) -> list[int | None]:
    """Send the bytes of these files over one association; return the statuses."""
    syntaxes = [announced(path) for path in paths]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
        with association(
            port, calling_ae=calling_ae, contexts=tuple(dict.fromkeys(syntaxes)), tls=tls
        ) as opened:
            assert opened.is_established
            return [opened.send_c_store(path).get("Status") for path in paths]


@contextmanager
def undisturbed(opened: Association) -> Iterator[None]:
    """Keep the association's own thread from taking an answer that the test waits for."""
    opened._reactor_checkpoint.clear()  # noqa: SLF001 - as send_c_store does
    while not opened._is_paused:  # noqa: SLF001 - as send_c_store does
        threading.Event().wait(0.001)
    yield
    opened._reactor_checkpoint.set()  # noqa: SLF001 - as send_c_store does


def announced(path: Path) -> tuple[str, str]:
    """Return SOP class and transfer syntax of a file, from its file meta."""
    meta = read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
