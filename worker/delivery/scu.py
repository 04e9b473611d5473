"""Storage SCU: one association with one peer, and C-STORE of files as they lie on disk."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association as WireAssociation
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)
from pynetdicom.transport import AddressInformation, AssociationSocket

from schemas.config import PeerSection
from schemas.jobs import CommitmentRequest, OwedProof
from worker.delivery.errors import NoAnswerError, PeerUnreachableError
from worker.tls import TlsFilesError, TlsSocket, calling_context

MAXIMUM_PDU_SIZE = 131072  # what dcmtk and Orthanc allow at most; measured: 3x faster than 16384
ANSWER_SECONDS = 60.0  # for a PACS that stores to a slow archive before it answers
SLOWEST_BYTES_PER_SECOND = 125_000.0  # 1 Mbit/s: a transfer at this pace is not cut

VERIFICATION = str(Verification)  # PS3.4 annex A
_PENDING = (0xFF00, 0xFF01)  # PS3.4 table C.4-1: another match follows

#: the standard demands Implicit VR of everybody (PS3.5 10.1); our files are Explicit VR
TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """A complete DICOM file on disk, and what must be known to send it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePlace:
    """Where an object lies in the hierarchy of patients, studies and series."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


class Association:
    """An established association; made by ``open_association``, used by one thread."""

    def __init__(
        self, wire: WireAssociation, entity: "_Entity", *, peer: str, answer_seconds: float
    ) -> None:
        self._wire = wire
        self._entity = entity
        self._peer = peer
        self._answer_seconds = answer_seconds
        self._is_over = not wire.is_established

    def takes(self, sop_class_uid: str) -> bool:
        """Say whether the peer accepted a context for this class."""
        return any(cx.abstract_syntax == sop_class_uid for cx in self._wire.accepted_contexts)

    @property
    def is_open(self) -> bool:
        """Say whether another object can be sent."""
        return not self._is_over and bool(self._wire.is_established)

    def store(self, file: StoredObject) -> int:
        """Send one file and return the peer's status.

        The bytes on disk go out unchanged where the peer took our transfer syntax, and are
        written anew in Implicit VR, with the same content, where it takes only that.

        Raises:
            NoAnswerError: the association ended, or the answer did not come in time.
            OSError: the file cannot be read.
        """
        seconds = self._answer_seconds + file.path.stat().st_size / SLOWEST_BYTES_PER_SECOND
        self._wire.dimse_timeout = seconds
        if not self.is_open:
            raise self._no_answer()
        try:
            with self._entity.cut_after(seconds):
                answer = self._wire.send_c_store(
                    file.path if self._takes_as_is(file) else dcmread(file.path)
                )
        except RuntimeError:  # pynetdicom: the association ended between our look and its own
            raise self._no_answer() from None
        return self._status_of(answer)

    def echo(self) -> int:
        """Ask the peer whether it is there (PS3.4 annex A); return its status.

        Raises:
            NoAnswerError: the association ended, or the answer did not come in time.
        """
        try:
            with self._entity.cut_after(self._answer_seconds):
                answer = self._wire.send_c_echo()
        except RuntimeError:  # the association has ended
            raise self._no_answer() from None
        return self._status_of(answer)

    def request_commitment(self, request: CommitmentRequest) -> int:
        """Ask the peer to commit itself to objects (PS3.4 J.3.2); return its status.

        Raises:
            NoAnswerError: the association ended, or the answer did not come in time.
        """
        question = Dataset()
        question.TransactionUID = request.transaction_uid
        question.ReferencedSOPSequence = [_reference(proof) for proof in request.proofs]
        try:
            with self._entity.cut_after(self._answer_seconds):
                answer, _ = self._wire.send_n_action(
                    question, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
                )
        except RuntimeError:  # the association has ended
            raise self._no_answer() from None
        return self._status_of(answer)

    def find_instance(self, place: InstancePlace) -> tuple[bool, int]:
        """Ask whether the peer shows an object (C-FIND at IMAGE level); return that and the status.

        Raises:
            NoAnswerError: the association ended, or the answer did not come in time.
        """
        question = Dataset()
        question.QueryRetrieveLevel = "IMAGE"
        question.StudyInstanceUID = place.study_instance_uid
        question.SeriesInstanceUID = place.series_instance_uid
        question.SOPInstanceUID = place.sop_instance_uid
        is_found = False
        try:
            with self._entity.cut_after(self._answer_seconds):
                for answer, found in self._wire.send_c_find(
                    question, StudyRootQueryRetrieveInformationModelFind
                ):
                    status = self._status_of(answer)
                    if status not in _PENDING:
                        return is_found, status
                    is_found |= found is not None and found.get("SOPInstanceUID") == (
                        place.sop_instance_uid
                    )
        except RuntimeError:  # the association has ended
            raise self._no_answer() from None
        raise self._no_answer()

    def release(self) -> None:
        """End it in good manners; harmless when it has ended already."""
        if self.is_open:
            with self._entity.cut_after(self._answer_seconds):
                self._wire.release()
        self._end()

    def abort(self) -> None:
        """End it now, from any thread; a ``store`` that waits raises ``NoAnswerError``."""
        # not by pynetdicom's abort: its reactor would steal the wake-up from the one who waits
        self._entity.cut_sockets()

    def _takes_as_is(self, file: StoredObject) -> bool:
        return any(
            context.abstract_syntax == file.sop_class_uid
            and context.transfer_syntax[0] == file.transfer_syntax_uid
            for context in self._wire.accepted_contexts
        )

    def _status_of(self, answer: Dataset) -> int:
        """Return the status of an answer; one without a status is none."""
        if "Status" not in answer:
            raise self._no_answer()
        return int(answer.Status)

    def _no_answer(self) -> NoAnswerError:
        self._end()
        return NoAnswerError(peer=self._peer)

    def _end(self) -> None:
        """Use it no more: pynetdicom needs a moment to notice that a peer has gone."""
        self._is_over = True
        self._entity.close_sockets()


def open_association(
    peer: PeerSection,
    *,
    ae_title: str,
    sop_class_uids: Iterable[str],
    connect_timeout_seconds: float,
    answer_seconds: float = ANSWER_SECONDS,
    handlers: Iterable[EventHandlerType] = (),
) -> Association:
    """Return an association with ``peer`` in which these classes were proposed.

    ``handlers`` answer what the peer asks of us on it.

    A peer that rejects every class also gives an association: one that is not open and takes
    nothing.

    Raises:
        PeerUnreachableError: nobody there, or we were not let in.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent as it lies on disk
    try:
        entity = _Entity(ae_title, peer=peer, answer_seconds=answer_seconds)
    except TlsFilesError as error:
        raise _unreachable(peer, found=error.found) from error
    entity.connection_timeout = connect_timeout_seconds
    entity.acse_timeout = connect_timeout_seconds
    entity.network_timeout = answer_seconds
    try:
        with entity.cut_after(2 * connect_timeout_seconds):  # for connection and request
            wire = entity.associate(
                peer.host,
                peer.port,
                # one context for each syntax, so that the choice is ours and not the peer's
                contexts=[
                    build_context(uid, each) for uid in sop_class_uids for each in TRANSFER_SYNTAXES
                ],
                ae_title=peer.ae_title,
                max_pdu=MAXIMUM_PDU_SIZE,
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, lambda _event: entity.note_connected()),
                    *handlers,
                ],
            )
    except socket.gaierror:
        raise _unreachable(peer, found="its name cannot be resolved") from None
    if not wire.is_established:
        entity.close_sockets()
    if not wire.is_established and not wire.rejected_contexts:
        found = _why_not(wire) if entity.is_connected else entity.why_not_connected
        raise _unreachable(peer, found=found)
    return Association(wire, entity, peer=peer.name, answer_seconds=answer_seconds)


def _reference(proof: OwedProof) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = proof.sop_class_uid
    item.ReferencedSOPInstanceUID = proof.sop_instance_uid
    return item


def _unreachable(peer: PeerSection, *, found: str) -> PeerUnreachableError:
    return PeerUnreachableError(peer=peer.name, host=peer.host, port=peer.port, found=found)


def _why_not(wire: WireAssociation) -> str:
    answer = wire.acceptor.primitive
    if wire.is_rejected and answer is not None:
        # PS3.8 table 9-21; the words are pynetdicom's own, nothing from the peer
        return f"it refused us ({answer.reason_str})"
    return "it did not answer in time, or cut the negotiation"


class _Entity(AE):
    """An AE that looks after its socket, which pynetdicom 3.0 does not in four ways.

    It never closes one that could not connect, sends on it without a limit (a peer that holds
    its window shut, or stops in the middle of a PDU, would hold this lane for ever), gives each
    byte its time-out anew (one that takes or gives a byte now and then would hold it for hours),
    and leaves Nagle's algorithm on.
    """

    def __init__(self, ae_title: str, *, peer: PeerSection, answer_seconds: float) -> None:
        super().__init__(ae_title)
        self.is_connected = False
        self._answer_seconds = answer_seconds
        self._sockets: list[socket.socket] = []
        self._tls = calling_context(peer.tls) if peer.tls else None
        self._host_name = (peer.tls.host_name if peer.tls else "") or peer.host

    @property
    def why_not_connected(self) -> str:
        """Return why there is no connection, as far as is known."""
        failures = [each.failure for each in self._sockets if isinstance(each, TlsSocket)]
        if any(failures):
            return f"TLS was not agreed ({failures[-1]})"
        return "nobody listens at this address"

    def note_connected(self) -> None:
        """Note that there is a connection; pynetdicom has just taken its time limit off."""
        self.is_connected = True
        for each in self._sockets:
            if isinstance(each, TlsSocket):  # the limits below mean nothing to OpenSSL
                each.settimeout(self._answer_seconds)

    @contextmanager
    def cut_after(self, seconds: float) -> Iterator[None]:
        """Cut the connection if what is done inside takes longer as a whole."""
        timer = threading.Timer(seconds, self.cut_sockets)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def cut_sockets(self) -> None:
        """End the connection for both sides, at once; safe while another thread uses it."""
        for each in self._sockets:
            with contextlib.suppress(OSError):  # it has ended already
                # not SSLSocket's, which takes the connection from under the thread that waits
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    def close_sockets(self) -> None:
        """Close what is left after a failure."""
        for each in self._sockets:
            each.close()

    def _create_socket(
        self,
        assoc: WireAssociation,
        address: AddressInformation,
        tls_args: tuple[ssl.SSLContext, str] | None,
    ) -> AssociationSocket:
        made = super()._create_socket(assoc, address, tls_args)
        if made.socket is not None:
            seconds = self._answer_seconds
            limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))  # timeval
            made.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            made.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            made.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                made.socket = self._tls.wrap_socket(made.socket, server_hostname=self._host_name)
            self._sockets.append(made.socket)
        return made
