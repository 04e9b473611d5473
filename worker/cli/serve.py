"""`boneage serve`: the worker itself."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import BoneAgeError, UsageError
from worker.cli.options import ConfigOption, all_settings, settings

if TYPE_CHECKING:
    from schemas.config import Config

_FOR_US_ALONE = 0o077  # what lies in the storage root are images of patients


class NoSuchProcessError(UsageError):
    """``--only`` names a process that there is not."""

    code = "serve.unknown_process"

    def __init__(self, *, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"There is no process {name!r}. Known: {', '.join(known)}; "
            "`infer` stands for one on each configured device."
        )


class ProcessSwitchedOffError(UsageError):
    """``--only http``, but the settings have no use for it."""

    code = "serve.switched_off"

    def __init__(self) -> None:
        super().__init__(
            "The process `http` is switched off: [http] enabled is false in the settings. Nothing "
            "was started. Set enabled = true under [http], or BONEAGE_HTTP__ENABLED=true."
        )


def serve(
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run only this: listen, infer, deliver, schedule, http."),
    ] = None,
    config: ConfigOption = None,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Receive, estimate, deliver and keep house, until SIGTERM.

    One supervisor runs each step as a process of its own, and starts again what falls. With
    `--only` it runs what is named, so that systemd or Kubernetes can run the steps apart.

    Examples: boneage serve --config /etc/boneage/config.toml; boneage serve --only listen
    """
    from worker.operations.reloading import hold_hangups
    from worker.operations.stopping import stop_on_signals, stop_with_parent

    hold_hangups()
    from worker.app import databases, processes

    os.umask(_FOR_US_ALONE)
    checked = _checked(config, supervised=supervised)
    stop = stop_on_signals()
    if supervised:
        stop_with_parent(stop)
    else:
        databases.prepare_database(checked)
    names = chosen_processes(only or (), known=processes.process_names(checked))
    if len(names) > 1:
        raise typer.Exit(_supervise(checked, names, config=config, stop=stop))
    settings(config, process=names[0])
    _run(checked, names[0], stop=stop, config=config, supervised=supervised)


def _checked(config: Path | None, *, supervised: bool) -> "Config":
    """Return the settings; whoever starts first also asks whether this machine has what they name.

    A child asks no more: a certificate that expires at noon must not keep a process from coming
    back at night.
    """
    from worker.operations.surroundings import surroundings

    if supervised:
        return settings(config)
    return all_settings(config, machine=surroundings).config


def chosen_processes(only: Sequence[str], *, known: Sequence[str]) -> tuple[str, ...]:
    """Return the processes that ``--only`` names, all of them where it is empty.

    Raises:
        ProcessSwitchedOffError: the settings do not want this process.
        NoSuchProcessError: a name fits no process.
    """
    chosen: list[str] = []
    for name in only or known:
        fitting = [one for one in known if name in (one, one.partition(":")[0])]
        if not fitting and name == "http":
            raise ProcessSwitchedOffError
        if not fitting:
            raise NoSuchProcessError(name=name, known=known)
        chosen += [one for one in fitting if one not in chosen]
    return tuple(chosen)


def _supervise(
    checked: "Config", names: Sequence[str], *, config: Path | None, stop: threading.Event
) -> int:
    from worker.app import identities, processes
    from worker.operations.presence import presence
    from worker.operations.supervisor import ProcessSpec, Supervisor

    chosen = () if config is None else ("--config", str(config))
    base = (sys.executable, "-m", "worker", "serve", "--supervised", *chosen)
    specs = [ProcessSpec(name=name, command=(*base, "--only", name)) for name in names]
    lives = processes.life_trail(checked, "serve", is_supervised=False)
    supervisor = Supervisor(
        specs,
        on_fall=lambda name, pid, exit_code: lives.fell(
            identities.process_actor(name, pid=pid), exit_code=exit_code
        ),
    )
    live = processes.live_settings(
        checked, load=lambda: _checked(config, supervised=False), is_audited=True
    )
    live.follow(lambda _config: supervisor.pass_on(signal.SIGHUP))
    live.reload_on_hangup()
    version = identities.software_version()
    living = lives.living(identities.process_actor("serve"), version=version, is_supervised=False)
    with presence(checked.storage.root, "serve"), living:
        return supervisor.run(stop)


def _run(
    checked: "Config", name: str, *, stop: threading.Event, config: Path | None, supervised: bool
) -> None:
    """Run one process; its end by an error is a line in the log, and exit code 1 or 2."""
    from worker.app import identities, processes
    from worker.logs import log
    from worker.operations.presence import presence

    version = identities.software_version()
    log.info("process.started", name=name, version=version)
    held = nullcontext() if supervised else presence(checked.storage.root, name)
    lives = processes.life_trail(checked, name, is_supervised=supervised)
    living = lives.living(identities.process_actor(name), version=version, is_supervised=supervised)
    try:
        with held, living:
            processes.run_process(
                checked,
                name,
                stop,
                load=lambda: settings(config, process=name),
                is_alone=not supervised,
            )
    except BoneAgeError as error:
        log.exception("process.ended", name=name, code=error.code)
        raise
    log.info("process.stopped", name=name)
