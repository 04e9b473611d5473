"""`boneage config`: what is in force and whence, whether it can be, and taking it into force."""

from typing import Any

import typer

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


def _value(sections: dict[str, Any], name: str) -> object:
    value: Any = sections
    for part in name.split("."):
        value = value[int(part) - 1] if isinstance(value, list) else value[part]
    return value
