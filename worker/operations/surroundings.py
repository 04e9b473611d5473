"""Whether this machine has what the settings name: release, profile, keys, certificates, GPUs."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from models.release.manifest import find_release, newest_release, read_manifest
from schemas.config import Config
from schemas.contradictions import Contradiction
from schemas.errors import BoneAgeError
from schemas.site_profile import parse_profile
from worker.operations.seal import KEY_BYTES
from worker.tls import calling_context, listening_context

Place = tuple[str | int, ...]

_LEAST_TOKEN: Final = 20  # letters; as worker.http.access asks


def surroundings(config: Config) -> Sequence[Contradiction]:
    """Return what the settings name and this machine does not have, or may not read."""
    found = [
        *_said_by(("inference", "release"), lambda: _require_release(config)),
        *_said_by(("report", "profile"), lambda: _require_profile(config)),
        *_tls(config),
        *_key_file(("audit", "key_file"), config.audit.key_file, least_bytes=KEY_BYTES),
        *_key_file(("http", "token_file"), config.http.token_file, least_bytes=_LEAST_TOKEN),
        *_storage(config.storage.root),
    ]
    return tuple(found)


def devices(config: Config) -> Sequence[Contradiction]:
    """Return the devices that this machine does not have. Loads torch, which takes seconds."""
    from worker.operations.device import choose_device  # noqa: PLC0415 - torch

    return tuple(
        fault
        for index, name in enumerate(config.inference.devices)
        for fault in _said_by(
            ("inference", "devices", index), partial(choose_device, name, threads=0)
        )
    )


def _said_by(place: Place, work: Callable[[], object]) -> Iterator[Contradiction]:
    try:
        work()
    except BoneAgeError as error:
        yield Contradiction(place=place, message=str(error))
    except OSError as error:
        yield Contradiction(
            place=place, message=f"cannot be read ({error.strerror}); mend the path or the rights"
        )


def _require_release(config: Config) -> None:
    read_manifest(find_release(config.inference.release or newest_release()))


def _require_profile(config: Config) -> None:
    if config.report.profile is not None:
        parse_profile(config.report.profile.read_bytes())


def _tls(config: Config) -> Iterator[Contradiction]:
    tls = config.listener.tls
    if tls.enabled and tls.certificate and tls.key:
        yield from _said_by(("listener", "tls"), lambda: listening_context(tls))
    for index, peer in enumerate(config.peer):
        theirs = peer.tls
        if theirs is not None and (theirs.certificate is None) == (theirs.key is None):
            yield from _said_by(("peer", index, "tls"), partial(calling_context, theirs))


def _key_file(place: Place, path: Path | None, *, least_bytes: int) -> Iterator[Contradiction]:
    """Say what is wrong with a key; one that is not there yet must be one that can be made."""
    if path is None:
        return
    if not path.exists():
        folder = _nearest(path.parent)
        if not os.access(folder, os.W_OK | os.X_OK):
            message = f"is not there and cannot be made: {folder} is not ours to write; mend either"
            yield Contradiction(place=place, message=message)
        return
    faults = [*_said_by(place, path.read_bytes)]
    if not faults and len(path.read_bytes().strip()) < least_bytes:
        message = f"holds less than {least_bytes} bytes; put a whole key there"
        faults.append(Contradiction(place=place, message=message))
    yield from faults


def _storage(root: Path) -> Iterator[Contradiction]:
    folder = _nearest(root)
    if not folder.is_dir():
        message = f"{folder} is a file; name a folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        message = f"{folder} is not ours to write; mend its owner, or name another folder"
    else:
        return
    yield Contradiction(place=("storage", "root"), message=message)


def _nearest(path: Path) -> Path:
    """Return ``path``, or the folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())
