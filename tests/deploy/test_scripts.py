"""Scripts that run on other people's machines: read by the tools that know their languages."""

import pytest

from tests.deploy.programs import DEPLOY, told
from tests.orthanc import require_program

SHELL = sorted(
    path
    for path in DEPLOY.rglob("*")
    if path.is_file() and path.suffix not in {".png", ".json"}
    and path.read_bytes()[:10].startswith((b"#!/bin/sh", b"#!/bin/bas", b"#!/usr/bin"))
)  # fmt: skip


def test_there_are_shell_scripts() -> None:
    assert SHELL


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: str) -> None:
    assert told([require_program("shellcheck"), path]) == (0, "")


def test_the_routing_script_is_lua() -> None:
    assert told([require_program("luac"), "-p", *DEPLOY.rglob("*.lua")]) == (0, "")
