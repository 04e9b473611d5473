"""`boneage peers` and `boneage send`: the systems around us."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import BoneAgeError, UsageError
from worker.cli.options import ConfigOption, JsonOption, settings
from worker.cli.output import print_facts, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from schemas.config import Config, PeerSection

commands = typer.Typer(no_args_is_help=True, help="The systems that send to us and take from us.")


class NoSuchPeerError(UsageError):
    """No peer has this name."""

    code = "peer.unknown"

    def __init__(self, *, name: str, known: list[str]) -> None:
        super().__init__(
            f"There is no peer {name!r} in the settings. "
            f"Known: {', '.join(known) or 'none; add a [[peer]] to config.toml'}."
        )


def named_peer(config: "Config", name: str) -> "PeerSection":
    """Return the peer with this name.

    Raises:
        NoSuchPeerError: there is none.
    """
    for peer in config.peer:
        if peer.name == name:
            return peer
    raise NoSuchPeerError(name=name, known=[peer.name for peer in config.peer])


@commands.command("list")
def list_peers(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the configured peers.

    Example: boneage peers list
    """
    peers = settings(config).peer
    if as_json:
        print_json([peer.model_dump(mode="json") for peer in peers])
        return
    print_table(
        ("PEER", "AE TITLE", "ADDRESS", "SENDS", "TAKES", "ITS RESULTS GO TO"),
        [
            (
                peer.name,
                peer.ae_title,
                f"{peer.host}:{peer.port}",
                "yes" if peer.sender else "no",
                ", ".join(peer.objects) if peer.destination else "no",
                ", ".join(peer.destinations) or ("itself" if peer.destination else "nobody"),
            )
            for peer in peers
        ],
        none="No peer is configured. Add a [[peer]] to config.toml.",
    )


@commands.command("echo")
def echo_peers(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None,
    *,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask peers by C-ECHO whether they are there; without a name, all destinations.

    Exit code 1: at least one is not.
    Example: boneage peers echo pacs
    """
    checked = settings(config)
    wanted = names or [peer.name for peer in checked.peer if peer.destination]
    records = [_echo_record(checked, name) for name in wanted]
    if as_json:
        print_json(records)
    else:
        columns = ("peer", "status", "milliseconds", "error")
        print_table(
            [column.upper() for column in columns],
            [["" if one[key] is None else str(one[key]) for key in columns] for one in records],
            none="No destination is configured.",
        )
    if any(one["status"] != "0x0000" for one in records):
        raise typer.Exit(1)


@commands.command("probe")
def probe_peers(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None,
    *,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask destinations what they accept of our objects; nothing is stored there.

    What they say is remembered: `deliver` offers what was taken last. Without a name: all.
    Exit code 1: one is away, or does not take what the settings want of it.

    Example: boneage peers probe pacs
    """
    checked = settings(config)
    wanted = names or [peer.name for peer in checked.peer if peer.destination]
    records = [_probe_record(checked, name) for name in wanted]
    if as_json:
        print_json(records)
    else:
        for record in records:
            print_facts(
                {"Peer": str(record["peer"]), "C-ECHO": str(record["status"] or "no answer")}
                | record["accepted"]
                | (
                    {"Error": str(record["error"])}
                    if record["error"]
                    else {"Lacks": "; ".join(record["lacks"]) or "nothing"}
                )
            )
            print()
    if any(one["error"] or one["lacks"] for one in records):
        raise typer.Exit(1)


def _probe_record(config: "Config", name: str) -> dict[str, Any]:
    from worker.app import operators
    from worker.operations.probing import names_of, probe, shortcomings

    peer = named_peer(config, name)
    record: dict[str, Any] = {
        "peer": name,
        "status": None,
        "milliseconds": None,
        "accepted": {},
        "lacks": [],
        "is_remembered": False,
        "error": None,
    }
    try:
        found = probe(peer, calling_ae=config.listener.ae_title)
    except BoneAgeError as error:
        return record | {"error": str(error)}
    return record | {
        "status": None if found.echo_status is None else f"0x{found.echo_status:04X}",
        "milliseconds": round(found.milliseconds, 1),
        "accepted": names_of(found),
        "lacks": list(shortcomings(peer, found)),
        "is_remembered": operators.remember_probe(config, found),
    }


def _echo_record(config: "Config", name: str) -> dict[str, Any]:
    from worker.operations.peer import echo

    record: dict[str, Any] = {"peer": name, "status": None, "milliseconds": None, "error": None}
    peer = named_peer(config, name)
    try:
        answer = echo(peer, calling_ae=config.listener.ae_title)
    except BoneAgeError as error:
        return record | {"error": str(error)}
    return record | {
        "status": f"0x{answer.status:04X}",
        "milliseconds": round(answer.milliseconds, 1),
    }


def send(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False)],
    *,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="A configured peer.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send DICOM files to a configured peer by C-STORE, as they are.

    It calls by our own AE title: a PACS that routes images to us, but nothing of ours back, as the
    Lua script of this project does, keeps these without routing them.

    Exit code 1: not all were taken.
    Example: boneage send hand.dcm --to pacs
    """
    from worker.operations.peer import send_files

    checked = settings(config)
    peer = named_peer(checked, to)
    records = []
    with progress_bar() as bar:
        task = bar.add_task(f"Sending to {to}", total=len(files))
        for sent in send_files(files, peer=peer, calling_ae=checked.listener.ae_title):
            status = None if sent.status is None else f"0x{sent.status:04X}"
            uid = sent.sop_instance_uid
            records.append({"file": str(sent.path), "sop_instance_uid": uid, "status": status})
            bar.advance(task)
    if as_json:
        print_json(records)
    else:
        print_table(
            ("FILE", "STATUS"),
            [(str(one["file"]), one["status"] or "class or syntax not taken") for one in records],
            none="Nothing was sent.",
        )
    if any(one["status"] not in ("0x0000", "0xB000", "0xB006", "0xB007") for one in records):
        raise typer.Exit(1)
