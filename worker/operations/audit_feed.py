"""Hands every sealed event on to an audit repository, in its order, however long that is away.

An event is durable in the trail from the moment it happens, in the transaction of what it tells.
Once it is sealed, its message is written to a folder of ours and stays there until it was sent.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from schemas.inquiries import SealedEvent
from worker.files import write_durably
from worker.operations.audit_message import AuditSource, build_message
from worker.operations.syslog import syslog_line
from worker.queue.audit import AuditTrail

NAME: Final = "syslog"
SPOOL_FOLDER: Final = "audit-spool"
_BATCH = 200  # messages over one connection


class AuditFeed:
    """The spool of audit messages of one installation."""

    def __init__(
        self,
        trail: AuditTrail,
        *,
        folder: Path,
        source: AuditSource,
        send: Callable[[Iterator[bytes]], None],
    ) -> None:
        """``send`` returns when all lines have arrived, and raises where they have not."""
        self._trail = trail
        self._folder = folder
        self._source = source
        self._send = send

    def hand_on(self) -> int:
        """Spool what was sealed since, then send what waits; return how many were sent.

        Raises:
            AuditRepositoryAwayError: the repository is away; what waits, waits.
            OSError: the spool cannot be written.
        """
        self.spool()
        return self.drain()

    def spool(self) -> int:
        """Write the message of every newly sealed event; return how many."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        position = self._trail.exported_position(NAME)
        count = 0
        while True:
            sealed, until = self._trail.sealed_after(position, limit=_BATCH)
            if until == position:
                return count
            for one in sealed:
                write_durably(self._folder / f"{one.position:012d}.syslog", self._line(one))
            self._trail.mark_exported(NAME, position=until)
            position, count = until, count + len(sealed)

    def drain(self) -> int:
        """Send what waits, oldest first; return how many. A message may arrive twice, never not."""
        waiting = iter(sorted(self._folder.glob("*.syslog")))
        count = 0
        while batch := list(islice(waiting, _BATCH)):
            self._send(path.read_bytes() for path in batch)
            for path in batch:
                path.unlink()
            count += len(batch)
        return count

    def waiting(self) -> int:
        """Return how many messages wait."""
        return sum(1 for _ in self._folder.glob("*.syslog"))

    def _line(self, sealed: SealedEvent) -> bytes:
        message = build_message(sealed.event, sealed.subject, source=self._source)
        return syslog_line(message, at=sealed.event.at, host=self._source.host)
