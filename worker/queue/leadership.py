"""Who leads: a row with a lease, so that what must happen in one place does, on any host."""

from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.tables import LeaderRow
from worker.queue.database import time_of, writing
from worker.queue.dialect import insert_or_ignore


class Leadership:
    """One holder's claim to lead ``name``."""

    def __init__(
        self, engine: Engine, *, now: Callable[[], datetime], name: str, holder: str
    ) -> None:
        self._engine = engine
        self._now = now
        self._name = name
        self._holder = holder

    def hold(self, *, lease: timedelta) -> bool:
        """Take or renew the lead; return whether it is ours until the lease ends."""
        with writing(self._engine) as session:
            at = time_of(session, self._now)
            ours = {"holder": self._holder, "lease_ends_at": at + lease}
            session.execute(
                insert_or_ignore(session, LeaderRow).values({"name": self._name, **ours})
            )
            taken = session.scalar(
                sa.update(LeaderRow)
                .where(
                    LeaderRow.name == self._name,
                    sa.or_(
                        LeaderRow.holder == self._holder,
                        LeaderRow.lease_ends_at <= at,
                        LeaderRow.lease_ends_at > at + lease,  # the clock was set back
                    ),
                )
                .values(ours)
                .returning(LeaderRow.name)
            )
        return taken is not None

    def give_up(self) -> None:
        """Let another lead at once; harmless where another already does."""
        with writing(self._engine) as session:
            session.execute(
                sa.delete(LeaderRow).where(
                    LeaderRow.name == self._name, LeaderRow.holder == self._holder
                )
            )
