from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from schemas.notices import News, Trouble
from tests.fakes import Clock
from worker.queue.notices import GIVE_UP_AFTER, RETRY, Notices

DAY = timedelta(days=1)
DISK = Trouble(key="check:disk", title="The disk is full", message="Free space.")


@pytest.fixture
def notices(engine: Engine, clock: Clock) -> Notices:
    return Notices(engine, now=clock)


def compose(news: News) -> Mapping[str, str]:
    """One message for each of two channels, with the titles of what is in it."""
    groups = (news.begun, news.lasting)
    told = [one.title for group in groups for one in group] + [f"well: {one}" for one in news.ended]
    return dict.fromkeys(("webhook", "e-mail"), "; ".join(told))


def tell(notices: Notices, *troubles: Trouble) -> int:
    return notices.tell(troubles, remind_after=DAY, compose=compose)


def failed(count: int) -> Trouble:
    return Trouble(key="failed_jobs", title="Failed jobs", message=f"{count} wait.", size=count)


def test_news_is_one_message_for_each_channel_and_old_news_is_none(notices: Notices) -> None:
    assert (tell(notices, DISK), tell(notices, DISK)) == (2, 0)

    assert {(one.channel, one.body) for one in notices.due()} == {
        ("webhook", "The disk is full"),
        ("e-mail", "The disk is full"),
    }


def test_what_lasts_or_grows_is_told_again_and_its_end_once(notices: Notices, clock: Clock) -> None:
    tell(notices, failed(1))
    clock.forward(minutes=15)
    grown = tell(notices, failed(2))
    clock.forward(hours=23)
    early = tell(notices, failed(2))
    clock.forward(hours=1)
    reminded = tell(notices, failed(2))
    ended = (tell(notices), tell(notices))

    assert (grown, early, reminded, ended) == (2, 0, 2, (2, 0))
    assert notices.due()[-1].body == "well: Failed jobs"


def test_a_message_that_nobody_took_waits_longer_each_time(notices: Notices, clock: Clock) -> None:
    tell(notices, DISK)
    first, second = notices.due()
    notices.mark_sent(first.message_id)
    notices.retry(second.message_id, error="503")
    waits = notices.due()
    clock.forward(seconds=RETRY.delay_after(1).total_seconds())

    assert waits == []
    assert notices.due() == [second]
    assert notices.unsent(["webhook", "e-mail"]) == 1
    assert notices.unsent([first.channel]) == 0


def test_after_days_a_message_is_given_up(notices: Notices, clock: Clock) -> None:
    tell(notices, DISK)
    clock.forward(seconds=GIVE_UP_AFTER.total_seconds() + 1)

    assert notices.due() == []
