"""What the file and the environment say, before anybody judges it, and where each value stands."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from schemas.config import SECRET, Config

ENVIRONMENT_PREFIX = "BONEAGE_"
SECRET_SUFFIX = "_file"  # noqa: S105 - ``url_file`` names the file that holds ``url``

Place = tuple[str | int, ...]  #: ("peer", 0, "port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with the settings."""

    where: str  #: "line 12, listener.port" or the name of a variable
    what: str  #: what is wrong and how to mend it; never the value


@dataclass(slots=True, kw_only=True)
class SettingsText:
    """Values as they were written, joined from all sources, with the place of each."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)  #: "line 12", or a variable
    secret_files: dict[Place, Path] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def where(self, place: Place) -> str:
        """Return where a reader finds what is wrong at ``place``: "line 12, listener.port"."""
        dotted = ".".join(f"{part + 1}" if isinstance(part, int) else part for part in place)
        for length in range(len(place), 0, -1):
            if origin := self.origins.get(place[:length]):
                is_variable = origin.startswith(ENVIRONMENT_PREFIX)
                return origin if is_variable else f"{origin}, {dotted}"
        return dotted

    def source(self, place: Place, *, file: str) -> str:
        """Return where the value in force comes from: file, environment, secrets file, default."""
        origin = self.origins.get(place)
        if origin is None:
            return "default"
        told = origin if origin.startswith(ENVIRONMENT_PREFIX) else f"{file}, {origin}"
        secret = self.secret_files.get(place)
        return told if secret is None else f"{told}: {secret}"


def read_settings(text: str, *, environment: Mapping[str, str], folder: Path) -> SettingsText:
    """Return file and environment joined; what cannot be joined is among the faults."""
    settings = SettingsText(origins=dict(_lines_of(text)))
    try:
        settings.values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        where = place.rstrip(")").split(",")[0] or "file"
        settings.faults.append(Fault(where=where, what=f"this is not TOML: {reason or error}"))
    _overlay(settings, environment)
    for secret in secret_places():
        _read_secret(settings, secret, folder=folder)
    return settings


def secret_places(model: type[BaseModel] = Config, above: Place = ()) -> Iterator[Place]:
    """Yield every setting that is secret and stands in no list."""
    for key, one in model.model_fields.items():
        inner = table_in(one.annotation)
        if SECRET in one.metadata:
            yield (*above, key)
        elif inner is not None and get_origin(one.annotation) is not tuple:
            yield from secret_places(inner, (*above, key))


def table_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any type at all
    """Return the model of the table that a key of this type holds; none: a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, UnionType):
        tables = (table_in(part) for part in get_args(annotation) if part is not Ellipsis)
        return next((table for table in tables if table is not None), None)
    return None


def known_keys(place: Place) -> list[str]:
    """Return the keys of the table at ``place``; empty where there is no table."""
    model: type[BaseModel] = Config
    for key in place:
        if isinstance(key, int):
            continue
        found = model.model_fields.get(key)
        inner = table_in(found.annotation) if found is not None else None
        if inner is None:
            return []
        model = inner
    return sorted(model.model_fields)


def _overlay(settings: SettingsText, environment: Mapping[str, str]) -> None:
    """Put ``BONEAGE_SECTION__KEY`` over what the file says."""
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        place = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        table: Any = settings.values
        for key in place[:-1]:
            table = table.setdefault(key, {}) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            what = "lists such as [[peer]] are set in the file, not in the environment"
            settings.faults.append(Fault(where=name, what=what))
            continue
        value = environment[name]
        try:
            table[place[-1]] = (
                tomllib.loads(f"value = {value}")["value"] if value[:1] in ("[", "{") else value
            )
        except tomllib.TOMLDecodeError:
            what = 'a list is written as in TOML: ["a", "b"]'
            settings.faults.append(Fault(where=name, what=what))
        settings.origins[place] = name


def _read_secret(settings: SettingsText, place: Place, *, folder: Path) -> None:
    """Put what the file of a secret holds in the place of the secret itself."""
    table: Any = settings.values
    for key in place[:-1]:
        table = table.get(key) if isinstance(table, dict) else None
    if not isinstance(table, dict) or f"{place[-1]}{SECRET_SUFFIX}" not in table:
        return
    named = (*place[:-1], f"{place[-1]}{SECRET_SUFFIX}")
    path = folder / str(table.pop(str(named[-1])))
    if place[-1] in table and _is_variable(settings, place) == _is_variable(settings, named):
        what = f"there is also {place[-1]}; keep one of the two"
        settings.faults.append(Fault(where=settings.where(named), what=what))
        return
    if place[-1] in table and _is_variable(settings, place):
        return  # the environment wins
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        what = f"the file cannot be read ({reason}); mend its path or its rights"
        settings.faults.append(Fault(where=settings.where(named), what=what))
        return
    table[place[-1]] = secret
    settings.origins[place] = settings.origins.get(named, "")
    settings.secret_files[place] = path


def _is_variable(settings: SettingsText, place: Place) -> bool:
    return settings.origins.get(place, "").startswith(ENVIRONMENT_PREFIX)


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


def by_line(faults: Sequence[Fault]) -> list[Fault]:
    """Return the faults in the order in which a reader meets them: down the file, then the rest."""
    return sorted(dict.fromkeys(faults), key=_reading_order)


def _reading_order(fault: Fault) -> tuple[int, int, str]:
    line = re.match(r"line (\d+)", fault.where)
    return (0, int(line[1]), fault.where) if line else (1, 0, fault.where)
