"""What each destination said to the last C-ECHO, and since when it says so."""

from collections.abc import Callable, Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from schemas.figures import EchoFigures
from schemas.tables import PeerEcho
from worker.queue.database import time_of, writing
from worker.queue.dialect import insert_or_ignore


class Echoes:
    """One row for each destination."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now

    def note(self, peer: str, *, is_up: bool, found: str) -> None:
        """Write down what ``peer`` has just answered; ``found`` says what was wrong."""
        with writing(self._engine) as session:
            at = time_of(session, self._now)
            new = {"is_up": is_up, "since": at, "checked_at": at, "found": found}
            session.execute(insert_or_ignore(session, PeerEcho).values(peer=peer, **new))
            is_other = PeerEcho.is_up.is_not(is_up)
            session.execute(
                sa.update(PeerEcho)
                .where(PeerEcho.peer == peer)
                .values(
                    is_up=is_up,
                    checked_at=at,
                    found=found,
                    since=sa.case((is_other, at), else_=PeerEcho.since),
                )
            )

    def forget_all_but(self, peers: Collection[str]) -> None:
        """Forget what is no destination any more."""
        with writing(self._engine) as session:
            session.execute(sa.delete(PeerEcho).where(PeerEcho.peer.not_in(peers)))


def last_echoes(session: Session) -> tuple[EchoFigures, ...]:
    """Return the last answer of every destination."""
    rows = session.scalars(sa.select(PeerEcho).order_by(PeerEcho.peer))
    return tuple(
        EchoFigures(
            peer=row.peer,
            is_up=row.is_up,
            since=row.since,
            checked_at=row.checked_at,
            found=row.found,
        )
        for row in rows
    )
