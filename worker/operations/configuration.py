"""Reads config.toml and the environment into one checked ``Config``.

Every error is shown at once, each with its line and its mend. The environment wins over the
file: ``BONEAGE_SECTION__KEY``, for example ``BONEAGE_LISTENER__PORT=104``.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.config import Config, ListenerTlsSection, PeerTlsSection, SyslogSection
from schemas.contradictions import Contradiction, contradictions
from schemas.errors import UsageError
from worker.operations.settings_text import (
    Fault,
    Place,
    SettingsText,
    by_line,
    known_keys,
    read_settings,
    secret_places,
)

FILE_VARIABLE = "BONEAGE_CONFIG"
DEFAULT_FILE = Path("config.toml")
HIDDEN = "***"

#: what the machine says to settings that are right in themselves
MachineCheck = Callable[[Config], Sequence[Contradiction]]


class ConfigurationError(UsageError):
    """The settings cannot be used; everything that is wrong is listed."""

    code = "config"

    def __init__(self, *, source: str, faults: Sequence[Fault]) -> None:
        lines = [f"  {fault.where}: {fault.what}" for fault in faults]
        super().__init__(
            f"The settings in {source} cannot be used, and nothing was started:\n"
            + "\n".join(lines)
            + "\nMend these, then run `boneage config check`."
        )
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Checked settings, and where each of them comes from."""

    config: Config
    file: Path | None
    text: SettingsText


def find_file(given: Path | None, *, environment: Mapping[str, str]) -> Path | None:
    """Return the file to read: the one given, ``$BONEAGE_CONFIG``, ./config.toml, or none."""
    if given is not None:
        return given
    if environment.get(FILE_VARIABLE):
        return Path(environment[FILE_VARIABLE])
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def load_config(given: Path | None, *, environment: Mapping[str, str]) -> Config:
    """Return the checked settings; relative paths are taken from the folder of the file.

    Raises:
        ConfigurationError: the file is absent or something in it, or in the environment, is wrong.
    """
    return load_settings(given, environment=environment).config


def load_settings(
    given: Path | None,
    *,
    environment: Mapping[str, str],
    machine: MachineCheck = lambda _config: (),
) -> Settings:
    """Return the checked settings with the source of each.

    Args:
        given: the file; otherwise as ``find_file`` has it.
        environment: whose ``BONEAGE_SECTION__KEY`` win over the file.
        machine: what else must be right here and now: files, release, devices.

    Raises:
        ConfigurationError: something is wrong; all of it is listed, in the order of the lines.
    """
    path = find_file(given, environment=environment)
    folder = (path.parent if path is not None else Path()).absolute()
    text = read_settings(
        _read(path) if path is not None else "", environment=environment, folder=folder
    )
    config, faults = _validate(text, machine=machine, folder=folder)
    if faults:
        source = str(path) if path is not None else "the environment"
        raise ConfigurationError(source=source, faults=by_line(faults))
    return Settings(config=config, file=path, text=text)


def shown(config: Config) -> dict[str, Any]:
    """Return the settings as plain values; what is secret is hidden."""
    sections = config.model_dump(mode="json")
    for *tables, key in secret_places():
        table: Any = sections
        for one in tables:
            table = table[one]
        table[key] = _hidden(table[key])
    return sections


def sources(settings: Settings) -> dict[str, str]:
    """Return the source of each setting: "listener.port" to "config.toml, line 12"."""
    file = settings.file.name if settings.file is not None else "file"
    return {
        ".".join(f"{part + 1}" if isinstance(part, int) else part for part in place): (
            settings.text.source(place, file=file)
        )
        for place in _places(settings.config.model_dump(mode="json"))
    }


def _hidden(secret: str) -> str:
    """Return a database URL without its password; of any other secret, only that there is one."""
    if not secret:
        return ""
    address = re.fullmatch(r"(\w+\+?\w*://[^:/@]*):?[^@]*(@.*)", secret)
    return f"{address[1]}:{HIDDEN}{address[2]}" if address else HIDDEN


def _places(values: Any, above: Place = ()) -> Iterator[Place]:  # noqa: ANN401 - plain values of TOML
    if isinstance(values, dict):
        for key, one in values.items():
            yield from _places(one, (*above, key))
    elif isinstance(values, list) and values and isinstance(values[0], dict):
        for index, one in enumerate(values):
            yield from _places(one, (*above, index))
    else:
        yield above


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fault = Fault(
            where="file",
            what=f"it cannot be read ({error.strerror}); name another with --config FILE",
        )
        raise ConfigurationError(source=str(path), faults=[fault]) from error
    except UnicodeDecodeError as error:
        fault = Fault(where="file", what="it is not UTF-8 text; save it as UTF-8")
        raise ConfigurationError(source=str(path), faults=[fault]) from error


def _validate(
    text: SettingsText, *, machine: MachineCheck, folder: Path
) -> tuple[Config, list[Fault]]:
    """Return the settings and all that is wrong with them; a wrong section stands as its default.

    So the rest can still be judged, and one run of `config check` shows everything.
    """
    faults, values = list(text.faults), dict(text.values)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        faults += [Fault(where=text.where(one["loc"]), what=_mend(one)) for one in found]
        wrong = {str(one["loc"][0]) for one in found}
        config = Config.model_validate(
            {key: value for key, value in values.items() if key not in wrong}
        )
    else:
        wrong = set()
    config = _anchor(config, folder)
    doubtful = wrong | ({"intake"} if "peer" in wrong else set())  # its rules name peers
    faults += [
        Fault(where=text.where(one.place), what=one.message)
        for one in (*contradictions(config), *(machine(config) if not text.faults else ()))
        if one.place[0] not in doubtful
    ]
    return config, faults


def _mend(error: ErrorDetails) -> str:
    place: Place = error["loc"]
    if error["type"] == "extra_forbidden":
        known = known_keys(place[:-1])
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return f"there is no such setting; {advice}"
    if error["type"] == "missing":
        return "this is needed; add it"
    if error["type"] == "string_pattern_mismatch":
        return _PATTERNS.get(str(place[-1]), _PATTERNS.get(str(place[-2:-1][0]), error["msg"]))
    message = error["msg"]
    return message[:1].lower() + message[1:]


_DEVICES = 'a device is "auto", "cpu", or "cuda:" and a number'
#: what a text of this key must look like
_PATTERNS = {
    "ae_title": "an AE title has 1 to 16 ASCII characters, no backslash and no blank at an end",
    "devices": _DEVICES,
    "device": _DEVICES,
    "webhook_url": "an address begins with http:// or https:// and has no blank",
}


def _anchor(config: Config, folder: Path) -> Config:
    """Return ``config`` with every relative path taken from ``folder``."""
    storage = config.storage.model_copy(update={"root": folder / config.storage.root})
    audit = config.audit.model_copy(
        update={
            "key_file": _under(folder, config.audit.key_file),
            "anchor_file": _under(folder, config.audit.anchor_file),
            "syslog": _with_files(folder, config.audit.syslog),
        }
    )
    report = config.report.model_copy(update={"profile": _under(folder, config.report.profile)})
    http = config.http.model_copy(update={"token_file": _under(folder, config.http.token_file)})
    anchored: dict[str, BaseModel] = {
        "storage": storage,
        "audit": audit,
        "report": report,
        "http": http,
    }
    anchored["listener"] = config.listener.model_copy(
        update={"tls": _with_files(folder, config.listener.tls)}
    )
    peers = tuple(
        one if one.tls is None else one.model_copy(update={"tls": _with_files(folder, one.tls)})
        for one in config.peer
    )
    return config.model_copy(update={**anchored, "peer": peers})


_Tls = TypeVar("_Tls", ListenerTlsSection, PeerTlsSection, SyslogSection)


def _with_files(folder: Path, section: _Tls) -> _Tls:
    files = {
        name: folder / path
        for name in type(section).model_fields
        if isinstance(path := getattr(section, name), Path)
    }
    return section.model_copy(update=files)


def _under(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path
