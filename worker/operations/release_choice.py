"""Writes into the settings which release reads new images; the rest of the file stays as it is."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import tomlkit
from tomlkit.items import Table

from schemas.errors import UsageError
from worker.files import write_durably
from worker.operations.settings_text import ENVIRONMENT_PREFIX

VARIABLE: Final = f"{ENVIRONMENT_PREFIX}INFERENCE__RELEASE"


class ReleaseChoiceError(UsageError):
    """The settings cannot be changed from here."""

    code = "release.choice"

    def __init__(self, *, name: str, problem: str, mend: str) -> None:
        super().__init__(
            f"Release {name} was checked and is right, but was not chosen: {problem}. Nothing was "
            f"changed. {mend}"
        )


def choose_release(name: str, *, file: Path | None, environment: Mapping[str, str]) -> None:
    """Set ``[inference] release`` in ``file``, with all its comments kept.

    Raises:
        ReleaseChoiceError: there is no file, we may not write it, or the environment wins.
    """
    if environment.get(VARIABLE):
        mend = f'Set {VARIABLE} = "{name}" where it is set, and start again.'
        raise ReleaseChoiceError(name=name, problem=f"{VARIABLE} is set and wins", mend=mend)
    mend = f'Write release = "{name}" under [inference] yourself, and start again.'
    if file is None:
        raise ReleaseChoiceError(name=name, problem="there is no settings file", mend=mend)
    try:
        rights = file.stat().st_mode & 0o777
        document = tomlkit.parse(file.read_text(encoding="utf-8"))
        section = document.get("inference")
        if not isinstance(section, Table):
            section = tomlkit.table()
            document["inference"] = section
        section["release"] = name
        target = file.resolve()  # a link stays one
        write_durably(target, tomlkit.dumps(document).encode("utf-8"))
        os.chmod(target, rights)  # noqa: PTH101 - beside its stat
    except OSError as error:
        problem = f"{file} cannot be written ({error.strerror})"
        raise ReleaseChoiceError(name=name, problem=problem, mend=mend) from error
