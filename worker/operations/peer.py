"""What an operator asks of a peer by hand: are you there, and take these files."""

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import AssociationSocket

from schemas.config import PeerSection
from schemas.errors import TransientError, UsageError
from worker.tls import calling_context

_VERIFICATION = "1.2.840.10008.1.1"  # PS3.4 A.4
#: PS3.8 9.3.2.2: context numbers are odd, 1 to 255
_MOST_CONTEXTS = 128


class PeerAwayError(TransientError):
    """There is no association to be had."""

    code = "peer.away"

    def __init__(self, *, peer: PeerSection, found: str) -> None:
        super().__init__(
            f"No association with {peer.name} ({peer.ae_title} at {peer.host}:{peer.port}): "
            f"{found}. Is it running, is the port right, and does it know our AE title?"
        )


class NotDicomError(UsageError):
    """A file that was to be sent is not a DICOM file."""

    code = "peer.not_dicom"

    def __init__(self, *, path: Path) -> None:
        super().__init__(
            f"{path} is not a DICOM file with file meta information, and was not sent. "
            "`boneage estimate` reads PNG, JPEG, WebP and TIFF."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """What a peer answered to C-ECHO."""

    status: int
    milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """What a peer answered to one file."""

    path: Path
    sop_instance_uid: str
    status: int | None  #: DIMSE status; None: it does not take this class in this transfer syntax


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def echo(peer: PeerSection, *, calling_ae: str, timeout_seconds: float = 10) -> Echo:
    """Return what ``peer`` says to C-ECHO.

    Raises:
        PeerAwayError: no association, or no answer.
        TlsFilesError: its `[peer.tls]` names files that cannot be used.
    """
    started = time.monotonic()
    association = associate(
        peer, [build_context(_VERIFICATION)], calling_ae=calling_ae, timeout_seconds=timeout_seconds
    )
    answer = association.send_c_echo()
    association.release()
    if "Status" not in answer:
        raise PeerAwayError(peer=peer, found="it did not answer")
    return Echo(status=int(answer.Status), milliseconds=(time.monotonic() - started) * 1000)


def send_files(
    paths: Sequence[Path], *, peer: PeerSection, calling_ae: str, timeout_seconds: float = 60
) -> Iterator[SentFile]:
    """Send DICOM files as they lie on disk, in their own transfer syntaxes, one by one.

    Raises:
        NotDicomError: one of them is not DICOM; nothing was sent.
        PeerAwayError: no association, or it ended before all was sent.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent as it lies on disk
    for batch in _batches([_read_head(path) for path in paths]):
        wanted = {(one.sop_class_uid, one.transfer_syntax_uid) for one in batch}
        association = associate(
            peer,
            [build_context(*pair) for pair in sorted(wanted)],
            calling_ae=calling_ae,
            timeout_seconds=timeout_seconds,
        )
        accepted = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0]))
            for context in association.accepted_contexts
        }
        try:
            for one in batch:
                is_taken = (one.sop_class_uid, one.transfer_syntax_uid) in accepted
                status = _store(association, one, peer=peer) if is_taken else None
                yield SentFile(path=one.path, sop_instance_uid=one.sop_instance_uid, status=status)
        finally:
            association.release()


def _store(association: Association, file: _File, *, peer: PeerSection) -> int:
    if not association.is_established:
        raise PeerAwayError(peer=peer, found="it ended the association")
    answer = association.send_c_store(file.path)
    if "Status" not in answer:
        raise PeerAwayError(peer=peer, found="it did not answer")
    return int(answer.Status)


def _read_head(path: Path) -> _File:
    try:
        dataset = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        return _File(
            path=path,
            sop_class_uid=str(dataset.SOPClassUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        )
    except (InvalidDicomError, AttributeError) as error:
        raise NotDicomError(path=path) from error


def _batches(files: Sequence[_File]) -> Iterator[list[_File]]:
    """Split ``files`` so that no batch needs more contexts than an association can have."""
    batch: list[_File] = []
    pairs: set[tuple[str, str]] = set()
    for one in files:
        pair = (one.sop_class_uid, one.transfer_syntax_uid)
        if pair not in pairs and len(pairs) == _MOST_CONTEXTS:
            yield batch
            batch, pairs = [], set()
        batch.append(one)
        pairs.add(pair)
    if batch:
        yield batch


class _Entity(AE):
    """An AE that closes what could not connect; pynetdicom 3.0 leaves it open."""

    def __init__(self, ae_title: str) -> None:
        super().__init__(ae_title)
        self._made: list[socket.socket] = []

    def close_sockets(self) -> None:
        """Close what a failed association left."""
        for each in self._made:
            each.close()

    def _create_socket(self, *arguments: Any, **named: Any) -> AssociationSocket:  # noqa: ANN401 - pynetdicom's signature
        made = super()._create_socket(*arguments, **named)
        if made.socket is not None:
            self._made.append(made.socket)
        return made


def associate(
    peer: PeerSection,
    contexts: list[PresentationContext],
    *,
    calling_ae: str,
    timeout_seconds: float,
) -> Association:
    """Return an association with ``peer``; one that took none of the contexts is not established.

    Raises:
        PeerAwayError: there is none to be had.
        TlsFilesError: its `[peer.tls]` names files that cannot be used.
    """
    entity = _Entity(calling_ae)
    entity.connection_timeout = entity.acse_timeout = timeout_seconds
    entity.dimse_timeout = entity.network_timeout = timeout_seconds
    tls = calling_context(peer.tls) if peer.tls else None
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            contexts=contexts,
            ae_title=peer.ae_title,
            max_pdu=131072,
            tls_args=(tls, (peer.tls and peer.tls.host_name) or peer.host) if tls else None,
        )
    except socket.gaierror:
        raise PeerAwayError(peer=peer, found="its name cannot be resolved") from None
    if association.is_established or association.rejected_contexts:
        return association
    if association.is_rejected:
        raise PeerAwayError(peer=peer, found="it refused us")
    entity.close_sockets()
    by = " by TLS" if tls else ""
    raise PeerAwayError(peer=peer, found=f"nobody answers{by} at this address")
