"""What pynetdicom 3.0 lacks at the socket, and where it reaches into its inner parts.

* No length of a PDU is checked, even before an association: a header that claims 300 MB is
  obeyed. Here a PDU has a longest length, and a deadline.
* An accepted socket has no time-out: a peer that stops inside a PDU holds its threads for ever.
* Its chunked receive is a switch for the whole process, and its temporary files lie in the
  folder of the whole process. Here each association of ours writes to the spool's own folder.
"""

import math
import socket
import time
from collections.abc import Callable
from typing import Any, cast

import pynetdicom
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from worker.listener.errors import UntestedLibraryError
from worker.listener.spool import FileMeta, IncomingFile
from worker.logs import log

TESTED_LIBRARY = "3.0"

#: No peer needs more: we offer at most 131072, and the longest association request (128 contexts,
#: each with 30 syntaxes) has a quarter of this. Some peers exceed what was negotiated a little.
LONGEST_PDU_BYTES = 1024 * 1024
#: Before there is an association: what hundreds of strangers may hold in memory at a time.
LONGEST_REQUEST_BYTES = 256 * 1024
#: Command sets have a few hundred bytes; this bounds what is gathered in memory.
_LONGEST_COMMAND_BYTES = 1024 * 1024
_READ_STEP_BYTES = 256 * 1024


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

    def __init__(
        self,
        association: Association,
        connection: socket.socket,
        *,
        on_too_slow: Callable[[Association], None],
    ) -> None:
        self._association = association
        self._connection = connection
        self._on_too_slow = on_too_slow

    def recv(self, nr_bytes: int) -> bytearray:
        """Return ``nr_bytes`` bytes, or fewer if the peer closed; pynetdicom's own signature.

        Raises:
            OversizePduError: more than any PDU needs.
            SlowPduError: they did not come in time.
        """
        is_open = self._association.is_established
        if nr_bytes > (LONGEST_PDU_BYTES if is_open else LONGEST_REQUEST_BYTES):
            log.warning("association.oversize_pdu", size_bytes=nr_bytes)
            raise OversizePduError(nr_bytes)
        received = bytearray(nr_bytes)
        view = memoryview(received)
        count = 0
        deadline = self._deadline()
        while count < nr_bytes:
            taken = self._take(view[count : count + _READ_STEP_BYTES], deadline=deadline)
            if not taken:
                break
            count += taken
        self._connection.settimeout(self._limit_seconds())  # for what is sent
        return bytearray(view[:count]) if count < nr_bytes else received

    def _take(self, view: memoryview, *, deadline: float) -> int:
        try:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SlowPduError
            self._connection.settimeout(left)
            return self._connection.recv_into(view)
        except TimeoutError:
            self._on_too_slow(self._association)
            raise

    def _deadline(self) -> float:
        provider = self._association.dimse
        end = provider.message_ends_at if isinstance(provider, SpoolingProvider) else None
        return min(end or math.inf, time.monotonic() + self._limit_seconds())

    def _limit_seconds(self) -> float:
        association = self._association
        is_open = association.is_established
        limit = association.network_timeout if is_open else association.acse_timeout
        return float(limit or 60)


class SpoolingProvider(DIMSEServiceProvider):
    """Writes the data set of every C-STORE to a half in the spool while it arrives.

    A message has a deadline as a whole: a sender that trickles holds no place for ever.
    """

    def __init__(
        self,
        association: Association,
        *,
        open_incoming: Callable[[FileMeta], IncomingFile],
        message_seconds: float,
        on_too_slow: Callable[[Association], None],
    ) -> None:
        super().__init__(association)
        self._on_too_slow = on_too_slow
        self._open_incoming = open_incoming
        self._message_seconds = message_seconds
        self.message_ends_at: float | None = None  #: of ``time.monotonic``; none is arriving
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
        if message is None:
            self.message_ends_at = None
            return
        now = time.monotonic()
        self.message_ends_at = self.message_ends_at or now + self._message_seconds
        if now > self.message_ends_at:
            self._on_too_slow(self.assoc)
            self._give_up()
        elif message._data_set_file is not None:  # noqa: SLF001 - see module
            return
        elif isinstance(message, C_STORE_RQ):
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
            calling_ae=calling_ae_of(self.assoc),
            called_ae=called_ae_of(self.assoc),
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


def calling_ae_of(association: Association) -> str:
    """Return who asked for an association, without the padding; "" before it was asked for."""
    request = association.requestor.primitive
    return str(request.calling_ae_title).strip() if request else ""


def called_ae_of(association: Association) -> str:
    """Return whom an association was asked of, likewise."""
    request = association.requestor.primitive
    return str(request.called_ae_title).strip() if request else ""


def _gathered_bytes(message: DIMSEMessage) -> int:
    data_set = message.data_set
    return message.encoded_command_set.tell() + (data_set.tell() if data_set else 0)
