"""What pynetdicom 3.0 lacks at the socket, and where it reaches into its inner parts.

* No length of a PDU is checked, even before an association: a header that claims 300 MB is
  obeyed. Here a PDU has a longest length, and a deadline.
* An accepted socket has no time-out: a peer that stops inside a PDU holds its threads for ever.
* Its chunked receive is a switch for the whole process, and its temporary files lie in the
  folder of the whole process. Here each association of ours writes to the spool's own folder.
"""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pynetdicom
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from worker.listener.errors import UntestedLibraryError
from worker.listener.spool import FileMeta, IncomingFile
from worker.logs import log

TESTED_LIBRARY = "3.0"

#: No peer needs more: we offer at most 131072, and the longest association request (128 contexts,
#: each with 30 syntaxes) has a quarter of this. Some peers exceed what was negotiated a little.
LONGEST_PDU_BYTES = 1024 * 1024
#: Command sets have a few hundred bytes; this bounds what is gathered in memory.
_LONGEST_COMMAND_BYTES = 1024 * 1024
_READ_STEP_BYTES = 256 * 1024
_ACCEPT_BACKLOG = 128
#: Connections without an association, beside those that have one; they live for the ACSE time-out.
_MOST_HALF_OPEN = 256


def require_tested_library() -> None:
    """Refuse another pynetdicom than the one whose inner parts are used here.

    Raises:
        UntestedLibraryError: another minor version is installed.
    """
    found = pynetdicom.__version__
    if ".".join(found.split(".")[:2]) != TESTED_LIBRARY:
        raise UntestedLibraryError(found=found, expected=TESTED_LIBRARY)


class OversizePduError(OSError):
    """A peer announced a PDU that no peer needs; pynetdicom closes the connection."""


class SlowPduError(TimeoutError):
    """A peer began a PDU and did not finish it in time; pynetdicom closes the connection."""


class GuardedReader:
    """Reads PDUs of one association, each with a longest length and a deadline."""

    def __init__(self, association: Association, connection: socket.socket) -> None:
        self._association = association
        self._connection = connection

    def recv(self, nr_bytes: int) -> bytearray:
        """Return ``nr_bytes`` bytes, or fewer if the peer closed; pynetdicom's own signature.

        Raises:
            OversizePduError: more than any PDU needs.
            SlowPduError: they did not come in time.
        """
        if nr_bytes > LONGEST_PDU_BYTES:
            log.warning("association.oversize_pdu", size_bytes=nr_bytes)
            raise OversizePduError(nr_bytes)
        received = bytearray(nr_bytes)
        view = memoryview(received)
        count = 0
        deadline = time.monotonic() + self._limit_seconds()
        while count < nr_bytes:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SlowPduError
            self._connection.settimeout(left)
            taken = self._connection.recv_into(view[count : count + _READ_STEP_BYTES])
            if not taken:
                break
            count += taken
        self._connection.settimeout(self._limit_seconds())  # for what is sent
        return bytearray(view[:count]) if count < nr_bytes else received

    def _limit_seconds(self) -> float:
        association = self._association
        is_open = association.is_established
        limit = association.network_timeout if is_open else association.acse_timeout
        return float(limit or 60)


class SpoolingProvider(DIMSEServiceProvider):
    """Writes the data set of every C-STORE to a half in the spool while it arrives."""

    def __init__(
        self, association: Association, *, open_incoming: Callable[[FileMeta], IncomingFile]
    ) -> None:
        super().__init__(association)
        self._open_incoming = open_incoming
        self._halves: dict[str, IncomingFile] = {}
        self._in_hand: set[str] = set()

    @property
    def is_busy(self) -> bool:
        """Say whether an object is arriving, or waits for its answer."""
        return bool(self._halves or self._in_hand)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take one P-DATA in, fragment by fragment, so that none misses its file."""
        for context_id, fragment in primitive.presentation_data_value_list:
            part = P_DATA()
            part.presentation_data_value_list = []
            part.presentation_data_value_list.append((context_id, fragment))
            try:
                super().receive_primitive(part)
                self._after_fragment()
            except Exception:  # noqa: BLE001 - otherwise its thread would end without a word
                log.exception("association.malformed_message")
                self._give_up()
                return

    def _after_fragment(self) -> None:
        message = self.message
        if message is None or message._data_set_file is not None:  # noqa: SLF001 - see module
            return
        if isinstance(message, C_STORE_RQ):
            self._give_file(message)
        elif _gathered_bytes(message) > _LONGEST_COMMAND_BYTES:
            log.warning("association.oversize_message")
            self._give_up()

    def _give_up(self) -> None:
        self.message = None
        self.discard_all()
        self.dul.event_queue.put("Evt19")  # PS3.8 table 9-10: invalid PDU; answered by an abort

    def _give_file(self, message: C_STORE_RQ) -> None:
        command = message.command_set
        context = self.assoc._accepted_cx.get(message.context_id or 0)  # noqa: SLF001 - see module
        meta = FileMeta(
            sop_class_uid=str(command.get("AffectedSOPClassUID") or ""),
            sop_instance_uid=str(command.get("AffectedSOPInstanceUID") or ""),
            transfer_syntax_uid=str(context.transfer_syntax[0]) if context else "",
        )
        incoming = self._open_incoming(meta)
        self._halves[incoming.name] = incoming
        message._data_set_file = cast("Any", incoming)  # noqa: SLF001 - see module
        message._data_set_path = incoming.path  # noqa: SLF001 - see module

    def take(self, name: str) -> IncomingFile | None:
        """Give the finished half to a handler, which says ``done``; ``None``: there is none."""
        self._in_hand.add(name)
        return self._halves.pop(name, None)

    def done(self, name: str) -> None:
        """Note that the handler knows its answer."""
        self._in_hand.discard(name)

    def discard_all(self) -> None:
        """Remove the halves that no handler has taken: the association is over."""
        while self._halves:
            try:
                _, incoming = self._halves.popitem()
            except KeyError:  # another thread was faster
                return
            incoming.discard()


def _gathered_bytes(message: DIMSEMessage) -> int:
    data_set = message.data_set
    return message.encoded_command_set.tell() + (data_set.tell() if data_set else 0)


class GuardedRequestHandler(RequestHandler):
    """Makes each accepted connection an association with our reader and our provider."""

    server: "SpoolingServer"

    def _create_association(self) -> Association:
        association = super()._create_association()
        connection = self.request
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(association.acse_timeout)
        wrapped = cast("Any", association.dul.socket)
        wrapped.recv = GuardedReader(association, connection).recv
        provider = SpoolingProvider(association, open_incoming=self.server.open_incoming)
        association.dimse = provider
        for event in (evt.EVT_CONN_CLOSE, evt.EVT_ABORTED, evt.EVT_RELEASED):
            association.bind(event, lambda _event: provider.discard_all())
        # pynetdicom leaves it open where the peer was the first to close
        association.bind(evt.EVT_CONN_CLOSE, lambda _event: connection.close())
        _unbind_message_loggers(association)
        return association


def _unbind_message_loggers(association: Association) -> None:
    # they format every PDU and message for a logger that is silent
    for event in (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT):
        bound = cast("list[tuple[Callable[..., Any], Any]]", association.get_handlers(event))
        for handler, _arguments in list(bound):
            association.unbind(event, handler)


class Application(AE):
    """An application entity whose limit counts associations, not connections that keep silent."""

    @property
    def active_associations(self) -> list[Association]:
        """Return the established associations, and the one that asks, if one asks."""
        asking = threading.current_thread()
        return [
            association
            for association in super().active_associations
            if association.is_established or association is asking
        ]


class SpoolingServer(ThreadedAssociationServer):
    """The listening socket; its associations write into the spool."""

    request_queue_size = _ACCEPT_BACKLOG

    def __init__(
        self,
        application: AE,
        address: tuple[str, int],
        *,
        handlers: list[evt.EventHandlerType],
        open_incoming: Callable[[FileMeta], IncomingFile],
    ) -> None:
        self.open_incoming = open_incoming
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
        del request, client_address
        if len(self.active_associations) < self.ae.maximum_associations + _MOST_HALF_OPEN:
            return True
        log.warning("association.too_many_connections")
        return False
