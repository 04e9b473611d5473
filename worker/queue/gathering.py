"""Arrivals that would wait for one another are written in one transaction."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from schemas.jobs import Arrival, Receipt
from worker.logs import log
from worker.queue.arrivals import take_in
from worker.queue.ledger import Ledger


@dataclass(slots=True, kw_only=True, eq=False)
class _Place:
    """One arrival in the row of those that wait, and what became of it."""

    arrival: Arrival
    receipt: Receipt | None = None
    is_first: bool = False  #: it is for this one to write all that wait; read once it is told
    told: threading.Event = field(default_factory=threading.Event)  #: there is something to do


class Gathering:
    """Writes the arrivals of many threads where one transaction has to wait for the other.

    Who comes while nobody writes does so at once. Who comes meanwhile waits, and the first of these
    writes for all of them: one transaction, one flush. If that fails each writes its own, so that
    what is wrong with one arrival is an error of that one alone.
    """

    def __init__(
        self, open_ledger: Callable[[], AbstractContextManager[Ledger]], *, release: str
    ) -> None:
        self._open_ledger = open_ledger
        self._release = release
        self._lock = threading.Lock()
        self._row: list[_Place] = []
        self._has_writer = False

    def receive(self, arrival: Arrival) -> Receipt:
        """Write down one arrival; when this returns, the transaction that holds it is committed.

        Raises what ``take_in`` and the database do: then nothing of it was written.
        """
        place = self._join(arrival)
        place.told.wait()
        if place.is_first:
            self._write_row()
        return place.receipt or self.receive_alone(arrival)

    def receive_alone(self, arrival: Arrival) -> Receipt:
        """Do the same in a transaction of its own."""
        with self._open_ledger() as book:
            return take_in(book, arrival, release=self._release)

    def _join(self, arrival: Arrival) -> _Place:
        place = _Place(arrival=arrival)
        with self._lock:
            self._row.append(place)
            if not self._has_writer:
                self._has_writer = place.is_first = True
                place.told.set()
        return place

    def _write_row(self) -> None:
        """Write all that wait when it is our turn, this thread's own among them.

        Raises:
            Exception: this thread's own was the only one, or the database did not let us begin.
        """
        row: list[_Place] = []
        try:
            with self._open_ledger() as book:
                row = self._leave()
                receipts = [take_in(book, each.arrival, release=self._release) for each in row]
            for place, receipt in zip(row, receipts, strict=True):
                place.receipt = receipt
        except Exception:
            if len(row) <= 1:
                raise
            log.exception("receive.not_committed_together", count=len(row))
        finally:
            self._pass_on(row or self._leave())

    def _leave(self) -> list[_Place]:
        with self._lock:
            row, self._row = self._row, []
        return row

    def _pass_on(self, row: list[_Place]) -> None:
        """Let those go on whose arrivals were written or are to be alone, and the next writer."""
        with self._lock:
            self._has_writer = bool(self._row)
            following = self._row[:1]
        for place in following:
            place.is_first = True
        for place in (*row, *following):
            place.told.set()
