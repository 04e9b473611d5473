"""`boneage config`: what is in force and whence, whether it can be, and taking it into force."""

import os
import signal
from typing import Any

import typer

from schemas.errors import UsageError
from worker.cli.options import ConfigOption, JsonOption, all_settings
from worker.cli.output import print_json, print_table

commands = typer.Typer(no_args_is_help=True, help="The settings in force, and what is wrong.")


@commands.command("show")
def show(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every setting in force, and where it comes from; what is secret is hidden.

    A source is a line of the file, a variable, the file of a secret, or the default.
    Example: boneage config show --json | jq .listener.port
    """
    from worker.operations.configuration import shown, sources

    settings = all_settings(config)
    sections, origins = shown(settings.config), sources(settings)
    if as_json:
        print_json(sections | {"sources": origins})
        return
    print_table(
        ("SETTING", "VALUE", "FROM"),
        [(name, str(_value(sections, name)), origin) for name, origin in origins.items()],
        none="There are no settings.",
    )


@commands.command("check")
def check(*, config: ConfigOption = None) -> None:
    """Check the settings; list everything that is wrong, with line and mend (exit code 2).

    Looks at the machine, too: release, site profile, keys, certificates, devices.
    Example: boneage config check --config /etc/boneage/config.toml
    """
    from worker.operations.surroundings import devices, surroundings

    checked = all_settings(config, machine=lambda one: (*surroundings(one), *devices(one))).config
    print(f"The settings are right: {len(checked.peer)} peers, storage in {checked.storage.root}.")


@commands.command("reload")
def reload(*, config: ConfigOption = None) -> None:
    """Let the running worker take new peers and intake rules; nothing that is open is closed.

    The file is checked first, and nothing is done if something in it is wrong. All other
    sections wait for the next start. The same: `kill -HUP` of `boneage serve`.
    Example: boneage config reload
    """
    from worker.operations.presence import running
    from worker.operations.surroundings import surroundings

    checked = all_settings(config, machine=surroundings).config
    found = running(checked.storage.root)
    if not found:
        raise NothingRunsError
    for name, pid in found.items():
        os.kill(pid, signal.SIGHUP)
        print(f"{name} (process {pid}) was told to read the settings again; see its log.")


class NothingRunsError(UsageError):
    """There is no worker to be told."""

    code = "config.nothing_runs"

    def __init__(self) -> None:
        super().__init__(
            "No worker runs on this storage root and this machine, so nobody was told. The "
            "settings are right, and the next `boneage serve` reads them."
        )


def _value(sections: dict[str, Any], name: str) -> object:
    value: Any = sections
    for part in name.split("."):
        value = value[int(part) - 1] if isinstance(value, list) else value[part]
    return value
