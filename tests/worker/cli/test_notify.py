import json
from pathlib import Path

import pytest

from tests.worker.operations.receivers import Mailbox, Receiver, mail_server
from worker.cli.application import main


def notify_test(capsys: pytest.CaptureFixture[str], settings: Path, *more: str) -> tuple[int, str]:
    """Type the command as an operator does; return its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(["notify", "test", "--config", str(settings), *more])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out + printed.err


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("silence_libraries", "configure_logging"):
        monkeypatch.setattr(f"worker.cli.options.{name}", lambda **_: None)


def settings(folder: Path, *, hook: str, mail_port: int) -> Path:
    file = folder / "config.toml"
    file.write_text(
        f'[notify]\nwebhook_url = "{hook}"\n[notify.email]\nhost = "127.0.0.1"\n'
        f'port = {mail_port}\nsecurity = "none"\nrecipients = ["night@hospital.example"]\n'
    )
    return file


def test_a_test_message_reaches_webhook_and_mailbox(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mailbox = Mailbox()
    with Receiver() as receiver, mail_server(mailbox) as port:
        file = settings(tmp_path, hook=receiver.url, mail_port=port)
        code, printed = notify_test(capsys, file)

    assert (code, printed.count("yes")) == (0, 2)
    (posted,), (mail,) = receiver.messages, mailbox.mails
    assert "test" in posted["text"].lower()
    assert mail["To"] == "night@hospital.example"


def test_a_channel_that_does_not_take_it_is_named_and_the_other_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mailbox = Mailbox()
    with Receiver() as receiver, mail_server(mailbox) as port:
        receiver.status = 503
        file = settings(tmp_path, hook=receiver.url, mail_port=port)
        code, printed = notify_test(capsys, file, "--json")

    told = {one["channel"]: one for one in json.loads(printed)}
    assert code == 1
    assert {name: one["is_sent"] for name, one in told.items()} == {
        "webhook": False,
        "email": True,
    }
    assert "503" in told["webhook"]["error"]
    assert len(mailbox.mails) == 1


def test_where_nobody_is_named_it_says_what_to_fill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")

    code, printed = notify_test(capsys, file)

    assert code == 2
    assert "notify.nobody" in printed
