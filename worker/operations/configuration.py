"""Reads config.toml and the environment into one checked ``Config``.

Every error is shown at once, each with its line and its mend. The environment wins over the
file: ``BONEAGE_SECTION__KEY``, for example ``BONEAGE_LISTENER__PORT=104``.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.config import Config, ListenerTlsSection, PeerTlsSection, contradictions
from schemas.errors import UsageError

ENVIRONMENT_PREFIX = "BONEAGE_"
FILE_VARIABLE = "BONEAGE_CONFIG"
DEFAULT_FILE = Path("config.toml")

Place = tuple[str | int, ...]  #: ("peer", 0, "port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with the settings."""

    where: str  #: "line 12, listener.port" or the name of a variable
    what: str  #: what is wrong and how to mend it; never the value


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
    path = find_file(given, environment=environment)
    text = _read(path) if path is not None else ""
    source = str(path) if path is not None else "the environment"
    origins: dict[Place, str] = dict(_lines_of(text))
    settings, faults = _parse(text)
    faults += _overlay(settings, environment, origins)
    if not faults:
        config, faults = _validate(settings, origins)
        if config is not None:
            faults = [
                Fault(where=_origin(one.place, origins), what=one.message)
                for one in contradictions(config)
            ]
            if not faults:
                return _anchor(config, (path.parent if path is not None else Path()).absolute())
    raise ConfigurationError(source=source, faults=faults)


def shown(config: Config) -> dict[str, Any]:
    """Return the settings as plain values; a password in the database URL is hidden."""
    sections = config.model_dump(mode="json")
    sections["database"]["url"] = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", config.database.url)
    return sections


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


def _parse(text: str) -> tuple[dict[str, Any], list[Fault]]:
    try:
        return tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        where = place.rstrip(")").split(",")[0] or "file"
        return {}, [Fault(where=where, what=f"this is not TOML: {reason or error}")]


def _overlay(
    settings: dict[str, Any], environment: Mapping[str, str], origins: dict[Place, str]
) -> list[Fault]:
    """Put ``BONEAGE_SECTION__KEY`` over what the file says; return what cannot be put."""
    faults = []
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        place = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        table: Any = settings
        for key in place[:-1]:
            table = table.setdefault(key, {}) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            what = "lists such as [[peer]] are set in the file, not in the environment"
            faults.append(Fault(where=name, what=what))
            continue
        value = environment[name]
        try:
            table[place[-1]] = (
                tomllib.loads(f"value = {value}")["value"] if value[:1] in ("[", "{") else value
            )
        except tomllib.TOMLDecodeError:
            faults.append(Fault(where=name, what='a list is written as in TOML: ["a", "b"]'))
        origins[place] = name
    return faults


def _validate(
    settings: dict[str, Any], origins: Mapping[Place, str]
) -> tuple[Config | None, list[Fault]]:
    try:
        return Config.model_validate(settings), []
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return None, [Fault(where=_origin(one["loc"], origins), what=_mend(one)) for one in found]


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
        return "an AE title has 1 to 16 ASCII characters, no backslash and no blank at an end"
    message = error["msg"]
    return message[:1].lower() + message[1:]


def known_keys(place: Place) -> list[str]:
    """Return the keys of the table at ``place``; empty where there is no table."""
    model: type[BaseModel] = Config
    for key in place:
        if isinstance(key, int):
            continue
        field = model.model_fields.get(key)
        inner = table_in(field.annotation) if field is not None else None
        if inner is None:
            return []
        model = inner
    return sorted(model.model_fields)


def table_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any type at all
    """Return the model of the table that a key of this type holds; none: a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, UnionType):
        tables = (table_in(part) for part in get_args(annotation) if part is not Ellipsis)
        return next((table for table in tables if table is not None), None)
    return None


_HEADER = re.compile(r"^\s*(\[\[?)\s*([\w.\-\s\"']+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([\w\-]+)\s*=")


def _lines_of(text: str) -> dict[Place, str]:
    """Return the line of every table and key: "line 12" by ("listener", "port")."""
    lines: dict[Place, str] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            names = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            table = names
            if names[:1] in counts and len(names) > 1:  # a table of the last [[peer]]
                table = (names[0], counts[names[:1]], *names[1:])
            if header[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
                table = (*names, counts[names])
            lines.setdefault(table, f"line {number}")
        elif key := _KEY.match(line):
            lines.setdefault((*table, key[1]), f"line {number}")
    return lines


def _origin(place: Place, origins: Mapping[Place, str]) -> str:
    dotted = ".".join(f"{part + 1}" if isinstance(part, int) else part for part in place)
    for length in range(len(place), 0, -1):
        if origin := origins.get(place[:length]):
            return origin if origin.startswith(ENVIRONMENT_PREFIX) else f"{origin}, {dotted}"
    return dotted


def _anchor(config: Config, folder: Path) -> Config:
    """Return ``config`` with every relative path taken from ``folder``."""
    storage = config.storage.model_copy(update={"root": folder / config.storage.root})
    audit = config.audit.model_copy(
        update={
            "key_file": _under(folder, config.audit.key_file),
            "anchor_file": _under(folder, config.audit.anchor_file),
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


_Tls = TypeVar("_Tls", ListenerTlsSection, PeerTlsSection)


def _with_files(folder: Path, section: _Tls) -> _Tls:
    files = {
        name: folder / path
        for name in type(section).model_fields
        if isinstance(path := getattr(section, name), Path)
    }
    return section.model_copy(update=files)


def _under(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path
