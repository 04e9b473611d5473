"""What people were told, and what is still to be sent: troubles, and the messages about them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine

from schemas.jobs import RetryPolicy
from schemas.notices import DueMessage, News, Trouble
from schemas.tables import NoticeRow, NotificationRow
from worker.queue.database import reading, time_of, writing

#: a trouble that grows, such as one more failed job, is not told again sooner
GROWTH_PAUSE = timedelta(minutes=15)
#: nobody wants to read of a night three days later
GIVE_UP_AFTER = timedelta(days=3)
_KEPT_FOR = timedelta(days=30)

RETRY = RetryPolicy(
    attempts=1_000_000,
    first_delay=timedelta(seconds=30),
    factor=2,
    longest_delay=timedelta(minutes=30),
)


class Notices:
    """The troubles that people know of, and the outbox of messages to them."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now

    def tell(
        self,
        troubles: Sequence[Trouble],
        *,
        remind_after: timedelta,
        compose: Callable[[News], Mapping[str, str]],
    ) -> int:
        """Compare what is wrong with what people know; put the news, if any, into the outbox.

        In one transaction, so that two schedules, or one that dies, tell nothing twice.

        Args:
            troubles: everything that is wrong now.
            remind_after: a trouble that lasts is told again after so long.
            compose: makes the message for each channel.

        Returns:
            How many messages are to be sent.
        """
        with writing(self._engine) as session:
            at = time_of(session, self._now)
            known = {row.key: row for row in session.scalars(sa.select(NoticeRow))}
            begun = [one for one in troubles if one.key not in known]
            lasting = [
                one
                for one in troubles
                if one.key in known and _is_due(known[one.key], one, at, remind_after)
            ]
            now_wrong = {one.key for one in troubles}
            ended = [row for key, row in known.items() if key not in now_wrong]
            news = News(
                at=at,
                begun=tuple(begun),
                lasting=tuple(lasting),
                ended=tuple(row.title for row in ended),
            )
            for row in ended:
                session.delete(row)
            for one in begun:
                session.add(
                    NoticeRow(key=one.key, title=one.title, since=at, told_at=at, size=one.size)
                )
            for one in lasting:
                known[one.key].told_at, known[one.key].size = at, one.size
            messages = compose(news) if news else {}
            for channel, body in messages.items():
                session.add(
                    NotificationRow(
                        channel=channel, body=body, created_at=at, attempt=0, run_after=at
                    )
                )
            return len(messages)

    def due(self) -> list[DueMessage]:
        """Return the messages that are to be tried now, oldest first."""
        with reading(self._engine) as session:
            at = time_of(session, self._now)
            rows = session.scalars(
                sa.select(NotificationRow)
                .where(
                    NotificationRow.sent_at.is_(None),
                    NotificationRow.run_after <= at,
                    NotificationRow.created_at >= at - GIVE_UP_AFTER,
                )
                .order_by(NotificationRow.id)
            )
            return [
                DueMessage(message_id=row.id, channel=row.channel, body=row.body) for row in rows
            ]

    def mark_sent(self, message_id: int) -> None:
        """Note that somebody took the message; forget those of long ago."""
        with writing(self._engine) as session:
            at = time_of(session, self._now)
            row = session.get_one(NotificationRow, message_id)
            row.attempt, row.sent_at, row.error = row.attempt + 1, at, None
            old = NotificationRow.created_at < at - _KEPT_FOR
            session.execute(sa.delete(NotificationRow).where(old))

    def retry(self, message_id: int, *, error: str) -> None:
        """Note that nobody took the message; it is tried again, later and later."""
        with writing(self._engine) as session:
            row = session.get_one(NotificationRow, message_id)
            row.attempt, row.error = row.attempt + 1, error
            row.run_after = time_of(session, self._now) + RETRY.delay_after(row.attempt)

    def unsent(self, channels: Collection[str]) -> int:
        """Return how many messages wait on these channels."""
        waiting = sa.select(sa.func.count()).where(
            NotificationRow.sent_at.is_(None), NotificationRow.channel.in_(channels)
        )
        with reading(self._engine) as session:
            return session.scalar(waiting) or 0


def _is_due(row: NoticeRow, trouble: Trouble, at: datetime, remind_after: timedelta) -> bool:
    pause = GROWTH_PAUSE if trouble.size > row.size else remind_after
    return at - row.told_at >= min(pause, remind_after)
