"""`boneage notify`: whether a message reaches a person."""

from datetime import UTC, datetime

import typer

from schemas.errors import BoneAgeError, UsageError
from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import print_json, print_table

commands = typer.Typer(no_args_is_help=True, help="Who is told of what needs a person.")


class NobodyToTellError(UsageError):
    """The settings name no channel."""

    code = "notify.nobody"

    def __init__(self) -> None:
        super().__init__(
            "[notify] names neither a webhook_url nor an e-mail host, so nobody is told of "
            "anything. Nothing was sent. Fill one of them in config.toml."
        )


@commands.command("test")
def send_test(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Send a test message by every channel that is set up (exit code 1: one did not take it).

    Example: boneage notify test
    """
    from worker.operations.channels import channels_of
    from worker.operations.notifying import trial

    channels = channels_of(settings(config).notify)
    if not channels:
        raise NobodyToTellError
    news = trial(datetime.now(tz=UTC))
    records = []
    for channel in channels:
        try:
            channel.send(channel.compose(news))
        except BoneAgeError as error:
            records.append({"channel": channel.name, "is_sent": False, "error": str(error)})
        else:
            records.append({"channel": channel.name, "is_sent": True, "error": None})
    if as_json:
        print_json(records)
    else:
        print_table(
            ("CHANNEL", "SENT", "ERROR"),
            [
                (str(one["channel"]), "yes" if one["is_sent"] else "NO", str(one["error"] or ""))
                for one in records
            ],
            none="",
        )
    if not all(one["is_sent"] for one in records):
        raise typer.Exit(1)
