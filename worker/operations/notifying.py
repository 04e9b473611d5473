"""Tells people what needs them: looks, groups, writes down, sends, and tries again."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from schemas.notices import DueMessage, News, Trouble
from worker.logs import log
from worker.operations.channels import Channel, NotSentError
from worker.queue.notices import Notices


class Notifier:
    """One round: what is new goes into the outbox of messages, and what lies there goes out."""

    def __init__(
        self,
        notices: Notices,
        channels: Sequence[Channel],
        *,
        find_troubles: Callable[[], Sequence[Trouble]],
        remind_after: timedelta,
    ) -> None:
        self._notices = notices
        self._channels = {one.name: one for one in channels}
        self._find_troubles = find_troubles
        self._remind_after = remind_after

    def run_once(self) -> int:
        """Tell what is new, and send what waits; return how many messages went out.

        Raises:
            NotSentError: a channel took none; its messages wait.
            DatabaseUnavailableError: nothing was looked at.
        """
        self._notices.tell(
            self._find_troubles(), remind_after=self._remind_after, compose=self._compose
        )
        failures: dict[str, NotSentError] = {}
        sent = 0
        for message in self._notices.due():
            channel = self._channels.get(message.channel)
            if channel is None or message.channel in failures:
                continue
            try:
                channel.send(message.body)
            except NotSentError as error:
                self._note_failure(message, error)
                failures[message.channel] = error
            else:
                self._notices.mark_sent(message.message_id)
                sent += 1
        if failures:
            raise next(iter(failures.values()))
        return sent

    def _compose(self, news: News) -> dict[str, str]:
        for one in (*news.begun, *news.lasting):
            log.warning("trouble.told", name=one.key)
        return {name: channel.compose(news) for name, channel in self._channels.items()}

    def _note_failure(self, message: DueMessage, error: NotSentError) -> None:
        log.warning("notify.not_sent", name=message.channel, code=error.code)
        self._notices.retry(message.message_id, error=str(error))


def trial(at: datetime) -> News:
    """Return the message of `boneage notify test`."""
    trouble = Trouble(
        key="test",
        title="Test message",
        message="Somebody ran `boneage notify test`. Nothing is wrong.",
    )
    return News(at=at, begun=(trouble,))
