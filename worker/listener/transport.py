"""What pynetdicom 3.0 lacks at the socket, and where it reaches into its inner parts.

* No length of a PDU is checked, even before an association: a header that claims 300 MB is
  obeyed. Here a PDU has a longest length, and a deadline.
* An accepted socket has no time-out: a peer that stops inside a PDU holds its threads for ever.
* Its chunked receive is a switch for the whole process, and its temporary files lie in the
  folder of the whole process. Here each association of ours writes to the spool's own folder.
"""

import contextlib
import math
import queue
import socket
import ssl
import time
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, cast

import pynetdicom
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from worker.direct import new_memory
from worker.listener.answers import encoded_answer
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
#: heads of a PDU and of its first item: PS3.8 tables 9-22 and 9-23, and the message control header
HEAD_BYTES = 12
#: so many heads are read with the data before them; a buffer of a file holds eight PDUs of 128 KB
_MOST_AHEAD = 16
READY_FOR_TRANSFER = "Sta6"  #: PS3.8 table 9-5: the association is established
_KIND, _LAST_OF_DATA_SET = 0x03, 0x02  #: message control header, PS3.8 E.2
_LAST_OF_COMMAND = b"\x03"
_ITEM_HEAD_BYTES = 6  #: before each fragment, PS3.8 9.3.5.1
#: how soon an association looks at its timers, or sees that it shall end, where nobody tells it
_LOOK_SECONDS = 0.1
#: How long one step waits, as parts of what is left until the deadline; in between nothing is said
#: to the socket. What we answer is sent with the same patience.
_LEAST_PATIENCE, _MOST_PATIENCE = 0.5, 0.9
_TIME: Final = Struct("@ll")  #: struct timeval: seconds, microseconds; both zero: for ever


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

        self._peeked = bytearray()  # seen, but not taken
        heads = memoryview(bytearray(_MOST_AHEAD * HEAD_BYTES))
        self._heads = [heads[at : at + HEAD_BYTES] for at in range(0, len(heads), HEAD_BYTES)]
        self._patience: float | None = None  # the time-out of the socket, as we set it last
        self._deadline = math.inf  # of the PDU that is arriving
        self._be_patient(self._limit_seconds())

    @property
    def holds_bytes(self) -> bool:
        """Say whether something can be read without asking the network."""
        connection = self._connection
        return bool(self._peeked) or (
            isinstance(connection, ssl.SSLSocket)
            and connection.fileno() >= 0
            and connection.pending() > 0
        )

    def fileno(self) -> int:
        """Return the descriptor to wait on; -1: it is closed."""
        return self._connection.fileno()

    def recv(self, nr_bytes: int) -> bytearray:
        """Return ``nr_bytes`` bytes, or fewer if the peer closed; pynetdicom's own signature.

        Raises:
            OversizePduError: more than any PDU needs.
            SlowPduError: they did not come in time.
        """
        if nr_bytes > (LONGEST_PDU_BYTES if self._is_open() else LONGEST_REQUEST_BYTES):
            log.warning("association.oversize_pdu", size_bytes=nr_bytes)
            raise OversizePduError(nr_bytes)
        received = bytearray(nr_bytes)
        count = min(nr_bytes, len(self._peeked))
        received[:count] = self._peeked[:count]
        del self._peeked[:count]
        view = memoryview(received)
        self._begin()
        while count < nr_bytes and (taken := self._take(view[count : count + _READ_STEP_BYTES])):
            count += taken
        return bytearray(view[:count]) if count < nr_bytes else received

    def answer(self, content: bytes) -> bool:
        """Send ``content`` from any thread; ``False``: over TLS, where one thread has to do all.

        If it cannot be sent the connection is over, and whoever reads from it sees that.
        """
        if isinstance(self._connection, ssl.SSLSocket):
            return False
        try:
            self._connection.sendall(content)
        except OSError:
            with contextlib.suppress(OSError):  # it was closed already
                self._connection.shutdown(socket.SHUT_RDWR)
        return True

    def peek(self, count: int, *, kind: int) -> bytes:
        """Return the next ``count`` bytes, which ``recv`` returns again.

        Fewer, if the peer closed, or the PDU is of another ``kind``, shorter than that, too long.

        Raises:
            SlowPduError: they did not come in time.
        """
        peeked = self._peeked
        self._begin()
        while len(peeked) < count and not _has_no_more(peeked, count=count, kind=kind):
            more = bytearray(count - len(peeked))
            taken = self._take(memoryview(more))
            if not taken:
                break
            peeked += more[:taken]
        return bytes(peeked[:count])

    def forget(self, count: int) -> None:
        """Take what was seen, so that what comes behind it is next."""
        del self._peeked[:count]

    def take_into(
        self, room: memoryview, *, left: int, alike: bytes = b"", length: int = 0
    ) -> tuple[int, int]:
        """Put into ``room`` what has come of the ``left`` last bytes of a PDU.

        And, in the same read, of PDUs behind it, as long as each begins with the head ``alike``
        that ``length`` bytes of data follow: that the next ones are like the last is nearly always
        right. Whatever else has come is kept for ``peek`` and ``recv``.

        Returns:
            How many bytes of data were put there, and how many of the last PDU are still to come.

        Raises:
            SlowPduError: none came in time.
            ConnectionError: the peer closed inside the PDU.
        """
        if self._peeked:
            count = min(left, len(room), len(self._peeked))
            room[:count] = self._peeked[:count]
            self.forget(count)
            return count, left - count
        views = [room[:left]]
        if not isinstance(self._connection, ssl.SSLSocket):
            views += self._views_behind(room, left, length=length if alike else 0)
        taken = self._take(*views)
        if not taken:
            raise ConnectionResetError
        count = min(taken, left)
        left, over = left - count, taken - count
        for place in range(1, len(views), 2):
            if not over:
                break
            if over < HEAD_BYTES or views[place] != alike:
                self._keep(views[place:], over)
                break
            self._begin()
            data = min(over - HEAD_BYTES, len(views[place + 1]))
            count, left, over = count + data, length - data, over - HEAD_BYTES - data
        return count, left

    def _views_behind(self, room: memoryview, place: int, *, length: int) -> list[memoryview]:
        """Return where a head, its data, the next head … go, the data behind ``place`` in turn."""
        views: list[memoryview] = []
        for head in self._heads:
            if place > len(room) or (views and not length):
                break
            views += [head, room[place : place + length]]
            place += length
        return views

    def _keep(self, views: list[memoryview], count: int) -> None:
        """Keep the first ``count`` bytes in ``views``, which are none of the data expected."""
        for view in views:
            self._peeked += view[:count]
            count -= min(count, len(view))

    def _begin(self) -> None:
        """Give what begins now its deadline."""
        provider = self._association.dimse
        end = provider.message_ends_at if isinstance(provider, SpoolingProvider) else None
        self._deadline = min(end or math.inf, time.monotonic() + self._limit_seconds())

    def _take(self, *views: memoryview) -> int:
        try:
            while True:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise SlowPduError
                self._be_patient(left)
                # it may have been a little too early
                with contextlib.suppress(TimeoutError, BlockingIOError):
                    if len(views) == 1:
                        return self._connection.recv_into(views[0])
                    return self._connection.recvmsg_into(views)[0]
        except TimeoutError:
            self._on_too_slow(self._association)
            raise

    def _be_patient(self, seconds: float) -> None:
        """Wait for a step no longer than ``seconds``: not to the last tenth, to say it seldom."""
        patience = self._patience
        if patience is None or not _LEAST_PATIENCE * seconds <= patience <= seconds:
            self._patience = _MOST_PATIENCE * seconds
            _wait_at_most(self._connection, self._patience)

    def _limit_seconds(self) -> float:
        association = self._association
        limit = association.network_timeout if self._is_open() else association.acse_timeout
        return float(limit or 60)

    def _is_open(self) -> bool:
        """Say whether the peer was let in; it may send before the other thread has noted that."""
        association = self._association
        return (
            association.is_established
            or association.dul.state_machine.current_state == READY_FOR_TRANSFER
        )


def _wait_at_most(connection: socket.socket, seconds: float) -> None:
    """Let no step on ``connection`` last longer; one that does ends in an OSError.

    The kernel counts where it can: for a time-out of Python's own, each step is two, and for each
    of them the interpreter's lock is let go and waited for.
    """
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)
        return
    connection.settimeout(None)
    limit = _TIME.pack(*divmod(max(1, int(seconds * 1_000_000)), 1_000_000))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, limit)


def _has_no_more(head: bytearray, *, count: int, kind: int) -> bool:
    """Say whether waiting for ``count`` bytes is in vain: another kind, too short, too long."""
    if head and head[0] != kind:
        return True
    length_end = 6  # PS3.8 table 9-22: type, reserved, length
    if len(head) < length_end:
        return False
    length = int.from_bytes(head[2:length_end])
    return length_end + length < count or length > LONGEST_PDU_BYTES


class SpoolingProvider(DIMSEServiceProvider):
    """Writes the data set of every C-STORE to a half in the spool while it arrives.

    A message has a deadline as a whole: a sender that trickles holds no place for ever.
    """

    def __init__(
        self,
        association: Association,
        *,
        open_incoming: Callable[[FileMeta, memoryview], IncomingFile],
        message_seconds: float,
        on_too_slow: Callable[[Association], None],
    ) -> None:
        super().__init__(association)
        self._on_too_slow = on_too_slow
        self._open_incoming = open_incoming
        self._message_seconds = message_seconds
        self.message_ends_at: float | None = None  #: of ``time.monotonic``; none is arriving
        self._memory: memoryview | None = None  # of the reactor's thread, for file after file
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
            try:
                if self.arriving is not None and fragment[0] & _KIND == _LAST_OF_COMMAND[0]:
                    # another message within this one: its data set would go into the same file
                    log.warning("association.message_in_message")
                    self._give_up()
                    return
                left = self._without_end(fragment)
                part.presentation_data_value_list.append((context_id, left))
                super().receive_primitive(part)
                self._after_fragment()
            except Exception:  # noqa: BLE001 - otherwise its thread would end without a word
                log.exception("association.malformed_message")
                self._give_up()
                return

    def _without_end(self, fragment: bytes) -> bytes:
        """Take the last fragment of a data set and complete its file: another thread comes next."""
        incoming = self.arriving
        if incoming is None or fragment[0] & _KIND != _LAST_OF_DATA_SET:
            return fragment
        incoming.write(fragment[1:])
        incoming.complete()
        return fragment[:1]

    @property
    def arriving(self) -> IncomingFile | None:
        """Return the file of the data set that is arriving; none: something else is, or nothing."""
        message = self.message
        file: object = message and message._data_set_file  # noqa: SLF001 - see module
        return file if isinstance(file, IncomingFile) else None

    def fragment_taken(self, context_id: int, *, is_last: bool) -> None:
        """Note that a fragment of the data set was put into its file already."""
        if not is_last:
            self._after_fragment()
            return
        end = P_DATA()
        end.presentation_data_value_list = []
        end.presentation_data_value_list.append((context_id, bytes([_LAST_OF_DATA_SET])))
        self.receive_primitive(end)

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:  # noqa: FBT001, FBT002 - as pynetdicom has it
        """Return the next message; its thread sleeps here until there is one, or other work."""
        if block:
            return super().get_msg(block=True)
        try:
            return self.msg_queue.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            return None, None

    def send_msg(self, primitive: Any, context_id: int) -> None:  # noqa: ANN401 - as pynetdicom has it
        """Send a message; the plain answer to a C-STORE without pynetdicom's work for it."""
        encoded = encoded_answer(primitive) if isinstance(primitive, C_STORE) else None
        most = self.maximum_pdu_size or LONGEST_PDU_BYTES
        if encoded is None or len(encoded) + _ITEM_HEAD_BYTES > most:
            super().send_msg(primitive, context_id)
            return
        answer = P_DATA()
        answer.presentation_data_value_list.append((context_id, _LAST_OF_COMMAND + encoded))
        self.dul.send_pdu(answer)

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
        self._memory = self._memory or new_memory()
        incoming = self._open_incoming(meta, self._memory)
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
        self._memory = None
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
