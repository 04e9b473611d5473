"""Storage and Verification SCP: bytes on disk, reception and job committed, then Success."""

import ssl
import threading
import time
from collections.abc import Sequence
from functools import partial
from types import MappingProxyType

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from schemas.config import ListenerSection, PeerSection
from schemas.jobs import Priority, Receipt
from worker.listener.admission import Admission, Applicant, RefusalRecord
from worker.listener.commitment import CommitmentReports, allow_reports
from worker.listener.contexts import supported_contexts
from worker.listener.errors import (
    PROCESSING_FAILURE,
    SUCCESS,
    AssociationRefusedError,
    HandshakeError,
    ListeningPortError,
    NotASenderError,
    StoreRefusedError,
    TooSlowError,
)
from worker.listener.reception import Origin, Reception
from worker.listener.server import MOST_HALF_OPEN, Receiving, SpoolingServer
from worker.listener.spool import Spool
from worker.listener.transport import (
    SpoolingProvider,
    called_ae_of,
    calling_ae_of,
    require_tested_library,
)
from worker.logs import log
from worker.queue.jobs import JobQueue
from worker.tls import listening_context, names_in

#: Priority (0000,0700), PS3.7 table 9.3-1
_PRIORITIES = MappingProxyType({1: Priority.HIGH, 0: Priority.MEDIUM, 2: Priority.LOW})
_MEGABYTE = 1_000_000
_ACCEPT_POLL_SECONDS = 0.1  #: how soon `stop` is noticed
_ABORT_SECONDS = 5.0  #: for the peers to close; pynetdicom's timer ends those that do not
_STOP_POLL_SECONDS = 0.02


class Listener:
    """The SCP of one worker.

    Its handlers run in one thread for each association and share ``spool`` and ``queue``.
    """

    def __init__(
        self,
        section: ListenerSection,
        *,
        peers: Sequence[PeerSection],
        spool: Spool,
        queue: JobQueue,
    ) -> None:
        self._section = section
        self._reports = CommitmentReports(queue.commitments, peers=peers)
        self._admission = Admission(section, peers=peers, reporters=self._reports.ae_titles)
        self._refusals = RefusalRecord(queue)
        self._spool = spool
        self._reception = Reception(spool=spool, queue=queue)
        self._servers: dict[SpoolingServer, threading.Thread] = {}
        self._port, self._tls_port = section.port, section.tls.port

    def follow(self, peers: Sequence[PeerSection]) -> None:
        """Take these peers into force; an association that is open stays open."""
        self._reports.follow(peers)
        self._admission.follow(peers, reporters=self._reports.ae_titles)

    @property
    def port(self) -> int:
        """Return the port that is bound, plain or, if TLS takes its place, for TLS."""
        return self._port

    @property
    def tls_port(self) -> int | None:
        """Return the port for TLS beside the plain one, if there are two."""
        return self._tls_port

    @property
    def is_listening(self) -> bool:
        """Say whether every accepting thread is alive."""
        threads = self._servers.values()
        return bool(threads) and all(thread.is_alive() for thread in threads)

    def start(self) -> None:
        """Remove old halves, bind the ports and accept associations in the background.

        Raises:
            UntestedLibraryError: another pynetdicom is installed.
            TlsFilesError: TLS is configured, but its files cannot be used.
            ListeningPortError: a port cannot be had; none is left open.
            RootTakenError: another listener receives into this storage root.
            OSError: the spool cannot be had.
        """
        require_tested_library()
        section = self._section
        tls = listening_context(section.tls) if section.tls.enabled else None
        self._reception.sweep()
        application = self._application()
        try:
            if tls is None or section.tls.port is None:
                self._port = self._open(application, section.port, tls=tls)
            else:
                self._port = self._open(application, section.port, tls=None)
                self._tls_port = self._open(application, section.tls.port, tls=tls)
        except ListeningPortError:
            self.stop(grace_seconds=0)
            raise
        if not self._admission.is_open_to_somebody:
            log.warning("listener.nobody_may_send", reason="no [[peer]] with sender = true")

    def _open(self, application: AE, port: int, *, tls: ssl.SSLContext | None) -> int:
        """Bind one port, accept there, and return its number."""
        section = self._section
        limit_bytes = section.largest_file_megabytes * _MEGABYTE
        receiving = Receiving(
            open_incoming=partial(self._spool.open, limit_bytes=limit_bytes),
            message_seconds=section.message_timeout_seconds,
            on_too_slow=self._too_slow,
            on_handshake_failed=self._handshake_failed,
        )
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_REQUESTED, self._handle_requested),
            (evt.EVT_C_ECHO, self._handle_echo),
            (evt.EVT_C_STORE, self._handle_store),
            (evt.EVT_N_EVENT_REPORT, self._reports.handle),
        ]
        address = (section.host, port)
        try:
            server = SpoolingServer(
                application, address, handlers=handlers, receiving=receiving, tls=tls
            )
        except OSError as error:
            raise ListeningPortError(
                host=section.host,
                port=port,
                problem=error.strerror or type(error).__name__,
                section="listener" if tls is None or section.tls.port is None else "listener.tls",
            ) from error
        thread = threading.Thread(
            target=server.serve_forever, args=(_ACCEPT_POLL_SECONDS,), name="listener", daemon=True
        )
        self._servers[server] = thread
        thread.start()
        bound = int(server.server_address[1])
        kind = "plain" if tls is None else "tls"
        log.info("listener.started", host=section.host, port=bound, kind=kind)
        return bound

    def stop(self, *, grace_seconds: float = 5) -> None:
        """Stop accepting, let what is arriving be answered, then abort what is still open.

        Whatever is cut off was not acknowledged: its sender sends it again.
        """
        servers, self._servers = list(self._servers), {}
        if not servers:
            self._spool.leave()
            return
        for server in servers:
            server.shutdown()
        end = time.monotonic() + grace_seconds
        while busy := [one for one in _associations(servers) if _provider(one).is_busy]:
            if time.monotonic() > end:
                log.warning("listener.cut_off", count=len(busy))
                break
            time.sleep(_STOP_POLL_SECONDS)
        _end_all(_associations(servers))
        self.write_left_out(is_last=True)
        self._spool.leave()
        log.info("listener.stopped")

    def write_left_out(self, *, is_last: bool = False) -> None:
        """Write into the audit trail how much of a flood it was spared; call it now and then."""
        self._refusals.write_left_out(is_last=is_last)
        self._reception.write_left_out(is_last=is_last)

    def _application(self) -> AE:
        section = self._section
        application = AE(section.ae_title)
        application.supported_contexts = supported_contexts()
        allow_reports(application)
        application.maximum_pdu_size = section.maximum_pdu_size
        # ours count associations alone, and let nobody in who asks; see ``Admission``
        application.maximum_associations = section.maximum_associations + 2 * MOST_HALF_OPEN
        application.acse_timeout = section.acse_timeout_seconds
        application.dimse_timeout = section.dimse_timeout_seconds
        application.network_timeout = section.network_timeout_seconds
        return application

    # what pynetdicom calls

    def _handle_requested(self, event: evt.Event) -> None:
        # not by pynetdicom's lists: there, an empty one means everybody
        association = event.assoc
        applicant = Applicant(
            calling_ae=calling_ae_of(association),
            called_ae=called_ae_of(association),
            address=str(association.requestor.address),
            certificate_names=_certificate_names(association),
        )
        try:
            self._admission.admit(association, applicant)
        except AssociationRefusedError as error:
            self._refuse(association, applicant, error)
        except Exception:  # noqa: BLE001 - pynetdicom would log it, and let the peer in
            log.exception("association.not_judged")
            _reject(association, AssociationRefusedError.answer)

    def _too_slow(self, association: Association) -> None:
        if not association.is_established:  # whoever knocks at the port need not be a sender
            log.warning("association.too_slow")
            return
        detail = {
            "calling_ae": calling_ae_of(association),
            "called_ae": called_ae_of(association),
            "peer_address": str(association.requestor.address),
        }
        self._refusals.write(TooSlowError(), detail=detail, event="receive_overdue")

    def _handshake_failed(self, error: HandshakeError, address: str) -> None:
        self._refusals.write(error, detail={"peer_address": address, "found": error.found})

    def _refuse(
        self, association: Association, applicant: Applicant, error: AssociationRefusedError
    ) -> None:
        self._refusals.write(
            error,
            detail={
                "calling_ae": applicant.calling_ae,
                "called_ae": applicant.called_ae,
                "peer_address": applicant.address,
            },
        )
        _reject(association, error.answer)

    def _handle_echo(self, event: evt.Event) -> int:
        log.debug("association.echo", calling_ae=calling_ae_of(event.assoc))
        return SUCCESS

    def _handle_store(self, event: evt.Event) -> int | Dataset:
        """Keep the object and its job, then return the DIMSE status."""
        began = time.monotonic()
        calling_ae = calling_ae_of(event.assoc)
        try:
            receipt = self._keep(event)
        except StoreRefusedError as error:
            log.warning(
                "receive.refused",
                calling_ae=calling_ae,
                code=error.code,
                status=f"0x{error.status:04X}",
            )
            return _answer(error)
        except Exception:  # noqa: BLE001 - a bug of ours must reach the sender as a failure
            log.exception("receive.failed", calling_ae=calling_ae)
            return PROCESSING_FAILURE
        log.info(
            "receive.own_object" if receipt is None else "receive.kept",
            receipt=receipt,
            calling_ae=calling_ae,
            milliseconds=round(1000 * (time.monotonic() - began)),
        )
        return SUCCESS

    def _keep(self, event: evt.Event) -> Receipt | None:
        association = event.assoc
        origin = Origin(
            calling_ae=calling_ae_of(association),
            called_ae=called_ae_of(association),
            peer_address=str(association.requestor.address),
            context_class_uid=str(event.context.abstract_syntax),
            priority=_PRIORITIES.get(getattr(event.request, "Priority", 0), Priority.MEDIUM),
        )
        provider = _provider(association)
        name = str(event.dataset_path)
        try:
            if not self._admission.may_send(origin.calling_ae):
                raise NotASenderError
            return self._reception.keep(provider.take(name), origin)
        finally:
            provider.done(name)


def _certificate_names(association: Association) -> frozenset[str] | None:
    connection = association.dul.socket.socket if association.dul.socket else None
    if not isinstance(connection, ssl.SSLSocket):
        return None
    return names_in(connection.getpeercert() or {})


def _associations(servers: Sequence[SpoolingServer]) -> list[Association]:
    return [one for server in servers for one in server.active_associations]


def _reject(association: Association, answer: tuple[int, int, int]) -> None:
    association.acse.send_reject(*answer)
    association.kill()  # returns when the peer has read it and closed


def _provider(association: Association) -> SpoolingProvider:
    provider = association.dimse
    if not isinstance(provider, SpoolingProvider):
        raise TypeError("an association that this listener did not make")
    return provider


def _end_all(associations: Sequence[Association]) -> None:
    """Close what never was established, abort the others and wait for them together."""
    established = [association for association in associations if association.is_established]
    for association in associations:
        if association in established:
            association.abort(block=False)
        elif association.dul.socket is not None:
            association.dul.socket.close()
    end = time.monotonic() + _ABORT_SECONDS
    for association in established:
        association.join(max(0.0, end - time.monotonic()))


def _answer(error: StoreRefusedError) -> Dataset:
    answer = Dataset()
    answer.Status = error.status
    answer.ErrorComment = error.comment
    return answer
