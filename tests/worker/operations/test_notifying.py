import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from schemas.config import NotifySection
from schemas.notices import Trouble
from tests.fakes import Clock
from tests.worker.operations.receivers import Mailbox, Receiver, mail_server
from worker.operations.channels import NotSentError, channels_of
from worker.operations.notifying import Notifier
from worker.queue.notices import Notices

DISK = Trouble(key="check:disk", title="The disk is full", message="Free space.")
REMIND_AFTER = timedelta(hours=24)


def failed(count: int) -> Trouble:
    message = f"{count} wait."
    return Trouble(key="failed_jobs", title="Failed jobs", message=message, size=count)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def mail_port(mailbox: Mailbox) -> Iterator[int]:
    with mail_server(mailbox) as port:
        yield port


class Desk:
    """A notifier with both channels, whose troubles the test sets."""

    def __init__(self, notices: Notices, section: NotifySection, clock: Clock) -> None:
        self.troubles: list[Trouble] = []
        self.clock = clock
        self.notices = notices
        self._notifier = Notifier(
            notices,
            channels_of(section),
            find_troubles=lambda: self.troubles,
            remind_after=REMIND_AFTER,
        )

    def look(self, *troubles: Trouble) -> int:
        self.troubles = list(troubles)
        return self._notifier.run_once()


@pytest.fixture
def section(receiver: Receiver, mail_port: int) -> NotifySection:
    email = {
        "host": "127.0.0.1",
        "port": mail_port,
        "security": "none",
        "recipients": ["night@hospital.example", "it@hospital.example"],
    }
    return NotifySection.model_validate({"webhook_url": receiver.url, "email": email})


@pytest.fixture
def desk(engine: Engine, section: NotifySection) -> Desk:
    clock = Clock()
    return Desk(Notices(engine, now=clock), section, clock)


def test_what_begins_together_is_one_message_on_each_channel(
    desk: Desk, receiver: Receiver, mailbox: Mailbox
) -> None:
    assert desk.look(DISK, failed(2)) == 2

    (posted,), (mail,) = receiver.messages, mailbox.mails
    assert [one["key"] for one in posted["begun"]] == ["check:disk", "failed_jobs"]
    assert "NEW: The disk is full\nFree space." in posted["text"]
    assert "Needs a person: The disk is full, Failed jobs" in mail["Subject"]
    assert mail["To"] == "night@hospital.example, it@hospital.example"
    assert "2 wait." in mail.get_content()


def test_nobody_is_told_twice(desk: Desk, receiver: Receiver) -> None:
    desk.look(DISK)
    desk.clock.forward(hours=23)
    desk.look(DISK)

    assert len(receiver.messages) == 1


def test_a_trouble_that_lasts_is_told_again_after_a_day(desk: Desk, receiver: Receiver) -> None:
    desk.look(DISK)
    desk.clock.forward(hours=24)
    desk.look(DISK)

    assert [one["key"] for one in receiver.messages[1]["lasting"]] == ["check:disk"]


def test_a_trouble_that_grows_is_told_again_but_not_at_each_step(
    desk: Desk, receiver: Receiver
) -> None:
    for count in range(1, 31):  # one more failed job each minute
        desk.look(failed(count))
        desk.clock.forward(minutes=1)

    texts = [one["text"] for one in receiver.messages]
    assert len(texts) == 2
    assert "16 wait." in texts[1]


def test_people_hear_when_all_is_well_again(
    desk: Desk, receiver: Receiver, mailbox: Mailbox
) -> None:
    desk.look(DISK)
    desk.look()
    desk.look()

    assert [one["ended"] for one in receiver.messages] == [[], ["The disk is full"]]
    assert "Well again: The disk is full" in mailbox.mails[1]["Subject"]


def test_a_message_that_nobody_took_is_sent_again_and_the_other_channel_has_it_at_once(
    desk: Desk, receiver: Receiver, mailbox: Mailbox
) -> None:
    receiver.status = 503
    with pytest.raises(NotSentError, match="503"):
        desk.look(DISK)
    taken = len(mailbox.mails)
    receiver.status = 200
    too_early = desk.look(DISK)
    desk.clock.forward(seconds=30)
    desk.look(DISK)

    assert (taken, too_early, len(mailbox.mails), len(receiver.messages)) == (1, 0, 1, 1)


def test_a_message_outlives_the_process_that_wrote_it(
    desk: Desk, receiver: Receiver, engine: Engine, section: NotifySection
) -> None:
    receiver.status = 500
    with pytest.raises(NotSentError):
        desk.look(DISK)
    receiver.status = 200
    desk.clock.forward(minutes=1)

    Desk(Notices(engine, now=desk.clock), section, desk.clock).look(DISK)

    assert len(receiver.messages) == 1


def test_nobody_reads_on_thursday_what_was_wrong_on_sunday(desk: Desk, receiver: Receiver) -> None:
    receiver.status = 500
    with pytest.raises(NotSentError):
        desk.look(DISK)
    receiver.status = 200
    desk.clock.forward(hours=23)
    desk.clock.forward(days=3)
    desk.look(DISK)

    assert [len(one["begun"]) for one in receiver.messages] == [0]  # the reminder alone


@pytest.mark.parametrize("status", [302, 307, 404, 500])
def test_an_error_never_quotes_the_address_of_the_webhook(
    desk: Desk, receiver: Receiver, status: int
) -> None:
    receiver.status = status

    with pytest.raises(NotSentError, match=str(status)) as caught:
        desk.look(DISK)

    assert "s3cr3t" not in str(caught.value)


def test_a_webhook_that_is_away_is_an_error_with_a_reason(receiver: Receiver) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    (channel,) = channels_of(NotifySection.model_validate({"webhook_url": url}))

    with pytest.raises(NotSentError, match="refused"):
        channel.send("{}")
    assert receiver.messages == []


def test_without_tls_no_password_is_sent(mail_port: int, mailbox: Mailbox) -> None:
    email = {"host": "127.0.0.1", "port": mail_port, "user": "me", "password": "s3cr3t"}
    section = NotifySection.model_validate({"email": {**email, "recipients": ["a@b.example"]}})
    (channel,) = channels_of(section)

    with pytest.raises(NotSentError):
        channel.send("Subject: x\r\n\r\nx\r\n")

    assert mailbox.mails == []
