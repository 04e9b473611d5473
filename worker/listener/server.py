"""The listening socket: takes connections, and makes each an association of ours.

The accept loop only accepts. What a peer may draw out, the TLS handshake and its request for an
association, happens in a thread of its own, with a deadline.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from worker.listener.errors import HandshakeError
from worker.listener.spool import FileMeta, IncomingFile
from worker.listener.transport import GuardedReader, SpoolingProvider
from worker.listener.upper_layer import SpoolingUpperLayer
from worker.logs import log
from worker.tls import reason_of

_ACCEPT_BACKLOG = 128
#: Connections without an association, beside those that have one; they live for the ACSE time-out.
MOST_HALF_OPEN = 256
#: One address cannot take them all.
MOST_HALF_OPEN_BY_ADDRESS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    """How the associations of one socket receive."""

    open_incoming: Callable[[FileMeta, memoryview], IncomingFile]
    message_seconds: float
    on_too_slow: Callable[[Association], None]  #: a message or PDU did not end in time
    on_handshake_failed: Callable[[HandshakeError, str], None]  #: gets the address, too


class GuardedRequestHandler(RequestHandler):
    """Makes each accepted connection an association with our reader and our provider."""

    server: "SpoolingServer"

    def _create_association(self) -> Association:
        association = super()._create_association()
        connection = self.request
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wrapped = cast("Any", association.dul.socket)
        receiving = self.server.receiving
        reader = GuardedReader(association, connection, on_too_slow=receiving.on_too_slow)
        wrapped.recv = reader.recv
        provider = SpoolingProvider(
            association,
            open_incoming=receiving.open_incoming,
            message_seconds=receiving.message_seconds,
            on_too_slow=receiving.on_too_slow,
        )
        association.dimse = provider
        association.dul = SpoolingUpperLayer(association, reader=reader, provider=provider)
        for event in (evt.EVT_CONN_CLOSE, evt.EVT_ABORTED, evt.EVT_RELEASED):
            association.bind(event, lambda _event: provider.discard_all())
        # pynetdicom leaves it open where the peer was the first to close
        association.bind(evt.EVT_CONN_CLOSE, lambda _event: connection.close())
        association.bind(evt.EVT_CONN_CLOSE, lambda _event: _wake_if_nothing_was_asked(association))
        _unbind_message_loggers(association)
        return association


def _wake_if_nothing_was_asked(association: Association) -> None:
    """End the thread of a peer that has gone without a request, such as a probe of the port.

    pynetdicom lets it wait for the rest of the ACSE time-out, and hold its place meanwhile.
    """
    is_waiting = association.dul.state_machine.current_state in ("Sta2", "Sta13")
    if is_waiting and association.requestor.primitive is None:
        association.dul.to_user_queue.put(cast("Any", None))  # as if the time were over


def _unbind_message_loggers(association: Association) -> None:
    # they format every PDU and message for a logger that is silent
    for event in (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT):
        bound = cast("list[tuple[Callable[..., Any], Any]]", association.get_handlers(event))
        for handler, _arguments in list(bound):
            association.unbind(event, handler)


class SpoolingServer(ThreadedAssociationServer):
    """The listening socket; its associations write into the spool."""

    request_queue_size = _ACCEPT_BACKLOG
    daemon_threads = True  # a handshake that hangs does not hold up the end of the process

    def __init__(
        self,
        application: AE,
        address: tuple[str, int],
        *,
        handlers: list[evt.EventHandlerType],
        receiving: Receiving,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.receiving = receiving
        self._tls = tls  # not pynetdicom's ``ssl_context``: it shakes hands in the accept loop
        self._opening: dict[socket.socket, str] = {}  # not yet associations, and their addresses
        self._lock = threading.Lock()
        self._is_closed = False
        super().__init__(
            application,
            address,
            application.ae_title,
            application.supported_contexts,
            evt_handlers=handlers,
            request_handler=GuardedRequestHandler,
        )
        application._servers.append(self)  # noqa: SLF001 - ``shutdown`` takes it out again

    def verify_request(self, request: object, client_address: object) -> bool:
        """Say whether one more connection may be opened; called by socketserver for each."""
        address = str(cast("tuple[object, ...]", client_address)[0])
        half_open = [
            str(one.requestor.address) for one in self.active_associations if not one.is_established
        ]
        with self._lock:
            half_open += self._opening.values()
            is_welcome = (
                len(half_open) < MOST_HALF_OPEN
                and half_open.count(address) < MOST_HALF_OPEN_BY_ADDRESS
            )
            if is_welcome:
                self._opening[cast("socket.socket", request)] = address
                return True
        log.warning("association.too_many_connections")
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Make one connection an association; runs in a thread of its own."""
        try:
            if self._is_closed:
                self.shutdown_request(request)
                return
            if self._tls is not None:
                request = self._shake_hands(request, self._tls)
            self.finish_request(request, client_address)
        except HandshakeError as error:
            self.shutdown_request(request)
            self.receiving.on_handshake_failed(error, str(client_address[0]))
        except Exception:  # noqa: BLE001 - one connection must not end the others
            log.exception("association.not_opened")
            self.shutdown_request(request)
        finally:
            with self._lock:
                self._opening.pop(request, None)

    def _shake_hands(self, request: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        """Return the connection once TLS is agreed, or close it when the time for that is over."""
        try:
            connection = tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        except OSError as error:  # it has gone already
            raise HandshakeError(found=reason_of(error)) from error
        with self._lock:
            self._opening[connection] = self._opening.pop(request, "")
            if self._is_closed:  # while it was wrapped: `server_close` could not see it
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        try:
            connection.settimeout(self.ae.acse_timeout)
            connection.do_handshake()
        except OSError as error:
            with self._lock:
                del self._opening[connection]
            connection.close()
            raise HandshakeError(found=reason_of(error)) from error
        return connection

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Note that no thread could be had for a connection; socketserver closes it."""
        del client_address
        with self._lock:
            self._opening.pop(request, None)
        log.exception("association.not_opened")

    def server_close(self) -> None:
        """Close the listening socket, and the connections that have no association yet."""
        with self._lock:
            self._is_closed = True
            opening = list(self._opening)
        for connection in opening:
            with contextlib.suppress(OSError):  # it has ended already
                # not SSLSocket's, which takes the handshake from under the thread that shakes
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        super().server_close()
