"""`boneage db`: bring the database up to date, check it, back it up, put a back-up back."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import ConfigOption, JsonOption, YesOption, settings
from worker.cli.output import confirm, print_json

commands = typer.Typer(no_args_is_help=True, help="The job database: upgrade, check, back up.")


@commands.command("upgrade")
def upgrade_database(*, config: ConfigOption = None) -> None:
    """Bring the database to the schema of this software; SQLite is backed up before.

    Example: boneage db upgrade
    """
    from worker.app import databases
    from worker.queue.database import upgrade

    checked = settings(config)
    revision = upgrade(
        databases.unchecked_engine(checked), backup_folder=databases.backup_folder(checked)
    )
    print(f"The database has schema {revision}.")


@commands.command("downgrade")
def downgrade_database(
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="Such as 0001.")],
    *,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Bring the database back to an earlier schema, before the earlier software is installed.

    Stop the worker first. SQLite is backed up before. Images, results and the audit trail stay;
    what only the newer schema knows is dropped: deploy/docs/upgrade-and-rollback.md.

    Example: boneage db downgrade 0001
    """
    from worker.app import databases
    from worker.queue.database import downgrade, revisions

    checked = settings(config)
    if revision not in revisions():
        known = ", ".join(revisions())
        raise typer.BadParameter(f"there is no schema {revision}; known: {known}")
    confirm(f"Bring the database back to schema {revision}? Is the worker stopped?", yes=yes)
    engine = databases.unchecked_engine(checked)
    found = downgrade(engine, revision, backup_folder=databases.backup_folder(checked))
    print(f"The database has schema {found}. Install the software that belongs to it.")


@commands.command("check")
def check_database(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check schema and consistency (exit code 1: something is wrong).

    Example: boneage db check
    """
    from worker.app import databases
    from worker.queue.database import check

    problems = check(databases.engine(settings(config)))
    if as_json:
        print_json(list(problems))
    else:
        print("\n".join(problems) or "The database is sound and has the right schema.")
    if problems:
        raise typer.Exit(1)


@commands.command("backup")
def backup_database(
    *,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Default: backups/ in the storage.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Copy the SQLite database while it is in use, and check the copy.

    Example: boneage db backup --to /mnt/backup
    """
    from worker.app import databases
    from worker.queue.database import backup

    checked = settings(config)
    path = backup(databases.engine(checked), to or databases.backup_folder(checked))
    print(f"The back-up is {path}.")


@commands.command("restore")
def restore_database(
    backup: Annotated[Path, typer.Argument(metavar="FILE", help="A file that db backup made.")],
    *,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Put a back-up in the place of the SQLite database; the old one is kept beside the back-ups.

    Images that came after the back-up still lie in the spool: they are queued again, and read
    again. What operators did since then is forgotten. The audit trail ends where the back-up does;
    after this, move the anchor file away (`boneage audit verify`).

    Example: boneage db restore var/backups/boneage-20260131T030000000Z.sqlite
    """
    from worker.app import audit, databases, queues
    from worker.queue.database import check, require_current_schema
    from worker.queue.restore import restore

    checked = settings(config)
    engine = databases.unchecked_engine(checked)
    confirm("Replace the database? What was done after the back-up is forgotten.", yes=yes)
    old = restore(engine, backup, set_aside=databases.backup_folder(checked))
    if old is not None:
        print(f"The old database is {old}.")
    require_current_schema(engine)
    problems = check(engine)
    print("\n".join(problems) or "The database is restored, sound, and has the right schema.")
    if problems:
        raise typer.Exit(1)
    found = queues.recover_spool(checked, queues.operator_queue(checked))
    print(f"Images in the spool that the back-up did not know: {found}, queued again.")
    anchor = audit.audit_seal(checked).anchor
    if old is not None and anchor.exists():
        print("The audit trail now ends where the back-up does. It is sealed again when its anchor")
        print(f"has moved away; write down why: mv {anchor} {anchor}.before-restore")
