"""Are the ports of the settings free, or held by this very worker?"""

import os
from pathlib import Path

from schemas.config import Config
from worker.operations.findings import Finding, fail, ok, warn
from worker.operations.ports import family_of, is_free, is_held_by
from worker.operations.presence import running


def examine_ports(config: Config) -> list[Finding]:
    """Return what is found about each port that the settings ask for."""
    listener, http, tls = config.listener, config.http, config.listener.tls
    wanted = [("listen", "port of listen", listener.host, listener.port)]
    if tls.enabled and tls.port is not None:
        wanted.append(("listen", "port of listen, TLS", listener.host, tls.port))
    if http.enabled:
        wanted.append(("http", "port of http", http.host, http.port))
    ours = _running(config.storage.root)
    return [_port(ours, process, what, (host, port)) for process, what, host, port in wanted]


def _port(
    ours: dict[str, int] | None, process: str, what: str, address: tuple[str, int]
) -> Finding:
    """Say who holds a port; whose open files this user may not see, by the file that it locks."""
    host, port = address
    if is_free(host, port):
        return ok(what, f"{host}:{port} is free")
    if ours is None:
        found = f"{host}:{port} is held; whether by this worker this user may not see"
        return warn(what, found, "Run this as the user that the worker runs as, or as root.")
    is_held = is_held_by(port, family_of(tuple(ours.values())))
    if is_held:
        return ok(what, f"{host}:{port} is held by this worker")
    runs = next((name for name in (process, "serve") if name in ours), None)
    if is_held is None and runs is not None:
        told = f"process {ours[runs]} of this storage root, {runs}, whose open files are hidden"
        return ok(what, f"{host}:{port} is held, by all that can be seen by {told}")
    found = f"{host}:{port} cannot be had: somebody else holds it, or the address is not ours"
    return fail(what, found, "End what holds it (`ss -ltnp`), or set another host or port.")


def _running(root: Path) -> dict[str, int] | None:
    """Return which processes run on this storage root; ``None``: this user may not look there."""
    if root.exists() and not os.access(root, os.R_OK | os.X_OK):
        return None
    try:
        return running(root)
    except PermissionError:
        return None
