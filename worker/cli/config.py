"""`boneage config`: what is in force, and whether it can be."""

import typer

from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import print_facts, print_json

commands = typer.Typer(no_args_is_help=True, help="The settings in force, and what is wrong.")


@commands.command("show")
def show(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every setting in force, file and environment joined; passwords are hidden.

    Example: boneage config show --json | jq .listener.port
    """
    from worker.operations.configuration import shown

    sections = shown(settings(config))
    if as_json:
        print_json(sections)
        return
    print_facts(
        {
            f"{section}.{key}": str(value)
            for section, keys in sections.items()
            if isinstance(keys, dict)
            for key, value in keys.items()
        }
        | {"peer": str(sections["peer"])}
    )


@commands.command("check")
def check(*, config: ConfigOption = None) -> None:
    """Check the settings; list everything that is wrong, with line and mend (exit code 2).

    Example: boneage config check --config /etc/boneage/config.toml
    """
    checked = settings(config)
    print(f"The settings are right: {len(checked.peer)} peers, storage in {checked.storage.root}.")
