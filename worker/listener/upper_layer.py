"""The upper layer of our associations: it sleeps until there is work, and takes data straight.

pynetdicom 3.0 asks a thousand times a second, in two threads for each association, whether there is
something to do; and it makes a primitive, two objects, an event and five copies of every PDU. Here

* both threads sleep until the peer sends, or the other thread has something for them;
* a PDU that holds one fragment of the data set of a C-STORE, as nearly all do, goes from the socket
  into the buffer of its file, and pynetdicom hears of the last of them alone;
* who has an answer sends it, and wakes no other thread for that.

Everything else, and a PDU with more than one fragment, goes pynetdicom's own way, whole.
"""

import contextlib
import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from worker.listener.spool import IncomingFile
from worker.listener.transport import (
    HEAD_BYTES,
    LONGEST_PDU_BYTES,
    READY_FOR_TRANSFER,
    GuardedReader,
    SpoolingProvider,
)

#: how soon a thread looks at its timers, or sees that it shall end, where nobody wakes it
_LOOK_SECONDS: Final = 0.1
#: Before the transport is open, or while it is being closed; pynetdicom's polling is kept there.
_WITHOUT_PEER: Final = frozenset({"Sta1", "Sta4", "Sta13"})

#: type, length of the PDU; length and context of its first item; message control header
_HEAD: Final = Struct(">BxLLBB")
_FRAGMENT_HEAD: Final = Struct(">BxLLB")  #: the same before the message control header
_LENGTH_BYTES: Final = 4
_P_DATA_TF: Final = 0x04
_ITEM_HEAD_BYTES: Final = 6  #: length, context and control header, of which the last two count
_IS_COMMAND, _IS_LAST = 0x01, 0x02
_ONE: Final = (1).to_bytes(8, sys.byteorder)  # what eventfd takes


class SpoolingUpperLayer(DULServiceProvider):
    """One association's reactor."""

    def __init__(
        self, association: Association, *, reader: GuardedReader, provider: SpoolingProvider
    ) -> None:
        super().__init__(association)
        former = association.dul
        self.socket, self.event_queue = former.socket, former.event_queue
        self._idle_timer, self.artim_timer = former._idle_timer, former.artim_timer  # noqa: SLF001 - it never ran
        self.to_user_queue = _TellingQueue(lambda: provider.msg_queue.put((None, None)))
        self._reader = reader
        self._provider = provider
        alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._alarm = os.fdopen(alarm, "r+b", buffering=0)
        #: nobody writes while it is closed: its number may be that of another file by then
        self._alarm_lock = threading.Lock()
        self._sending = threading.Lock()
        self._on_the_way = 0  # data that the reactor was given and has not sent

    def run_reactor(self) -> None:
        """Run until the association is over."""
        try:
            super().run_reactor()
        finally:
            with self._alarm_lock:
                self._alarm.close()

    def send_pdu(self, primitive: Any) -> None:  # noqa: ANN401 - as pynetdicom has it
        """Have a primitive sent, now; by this thread, if it is data and nothing waits before it."""
        if isinstance(primitive, P_DATA):
            if self._send_at_once(primitive):
                return
            with self._sending:
                self._on_the_way += 1
        super().send_pdu(primitive)
        self._wake()

    def _send(self, pdu: Any) -> None:  # noqa: ANN401 - as pynetdicom has it
        with self._sending:
            super()._send(pdu)
            if isinstance(pdu, P_DATA_TF) and self._on_the_way:
                self._on_the_way -= 1

    def _send_at_once(self, data: P_DATA) -> bool:
        """Send what is one fragment; ``False``: nothing was sent, the reactor is to do it."""
        if len(data.presentation_data_value_list) != 1:
            return False
        ((context_id, fragment),) = data.presentation_data_value_list
        length = len(fragment) + 1  # the context counts
        head = _FRAGMENT_HEAD.pack(_P_DATA_TF, length + _LENGTH_BYTES, length, context_id)
        with self._sending:
            has_work = self._on_the_way or self.event_queue.queue or self.to_provider_queue.queue
            if has_work or self.state_machine.current_state != READY_FOR_TRANSFER:
                return False
            return self._reader.answer(head + fragment)

    def kill_dul(self) -> None:
        """End the reactor."""
        super().kill_dul()
        self._wake()

    def stop_dul(self) -> bool:
        """End the reactor where no transport is open, and wait for it."""
        if self.state_machine.current_state == "Sta1":
            self.kill_dul()
        return super().stop_dul()

    def _wake(self) -> None:
        with self._alarm_lock, contextlib.suppress(ValueError):  # closed: it is over
            self._alarm.write(_ONE)

    def _is_transport_event(self) -> bool:
        """Wait for something to do; ``True``: the peer sent something, and it was taken in."""
        state = self.state_machine.current_state
        if state in _WITHOUT_PEER or self.socket is None or self.socket.socket is None:
            return super()._is_transport_event()
        if not self._peer_sends():
            self._process_recv_primitive()  # what woke us, if it did
            return False
        if state != READY_FOR_TRANSFER or not self._stream():
            self._read_pdu_data()
        return True

    def _peer_sends(self) -> bool:
        """Sleep until the peer sends or we are woken; say whether the former."""
        if self._reader.holds_bytes:
            return True
        connection = self._reader.fileno()
        if connection < 0:
            self.event_queue.put("Evt17")  # as `AssociationSocket.ready` does
            return False
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.register(self._alarm, select.POLLIN)
        has_event = not self.event_queue.empty()
        woken = [number for number, _ in poll.poll(0 if has_event else 1000 * _LOOK_SECONDS)]
        if self._alarm.fileno() in woken:
            self._alarm.read(len(_ONE))
        return connection in woken

    def _stream(self) -> bool:
        """Take data in for as long as it is plain; ``False``: what comes next is not."""
        while (incoming := self._provider.arriving) is not None:
            try:
                is_taken = self._take_fragment(incoming)
            except OSError:
                self.event_queue.put("Evt17")
                return True
            if not is_taken:
                return False
            self._idle_timer.restart()
            if self._has_other_work() or not self._peer_sends():
                return True
        return False

    def _has_other_work(self) -> bool:
        return (
            self._kill_thread
            or bool(self.event_queue.queue)  # without their locks, as pynetdicom looks, too
            or bool(self.to_provider_queue.queue)
            or self._provider.arriving is None
        )

    def _take_fragment(self, incoming: IncomingFile) -> bool:
        """Take one PDU into the file, if it is one fragment of a data set and nothing else.

        And those that come behind it alike, as far as one read has them.

        Raises:
            OSError: the peer closed, or was too slow.
        """
        head = self._reader.peek(HEAD_BYTES, kind=_P_DATA_TF)
        if len(head) < HEAD_BYTES:
            return False
        _, pdu_length, item_length, context_id, control = _HEAD.unpack(head)
        is_alone = _ITEM_HEAD_BYTES <= pdu_length == item_length + 4 <= LONGEST_PDU_BYTES
        if not is_alone or control & _IS_COMMAND:
            return False
        self._reader.forget(HEAD_BYTES)
        is_last = bool(control & _IS_LAST)
        left = length = item_length - 2
        alike = b"" if is_last else head
        while left:
            if self._kill_thread:
                return True
            taken, left = self._reader.take_into(
                incoming.room, left=left, alike=alike, length=length
            )
            incoming.advance(taken)
            if left:  # a slow run may last as long as the message
                self._idle_timer.restart()
        self._provider.fragment_taken(context_id, is_last=is_last)
        return True


class _TellingQueue(queue.Queue[Any]):
    """A queue that tells somebody of what was put into it."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401, FBT001, FBT002 - as queue has it
        super().put(item, block, timeout)
        self._tell()
