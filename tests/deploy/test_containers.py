"""The image and the compose file: read by linters and schemas, and against the code they run."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.programs import DEPLOY, of_this_environment, told
from worker.operations.configuration import load_config

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "compose" / "compose.yaml"


def services(path: Path = COMPOSE) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    return found


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    assert told([of_this_environment("hadolint"), DOCKERFILE]) == (0, "")


def test_the_image_is_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)

    assert users == ["10001:10001"]


def test_every_variant_of_the_image_has_its_stage() -> None:
    stages = re.findall(r"^FROM .* AS variant-(\w+)$", DOCKERFILE.read_text(), re.MULTILINE)

    assert stages == ["cpu", "cuda"]


def test_the_layer_of_dependencies_is_that_of_the_package() -> None:
    script = DEPLOY / "docker" / "dependencies.py"
    code, printed = told([sys.executable, script, DEPLOY.parent / "pyproject.toml"])

    assert code == 0
    assert "pynetdicom" in printed
    assert "pytest" not in printed
    assert "openvino" not in printed


def test_an_image_for_processors_has_the_fast_engine() -> None:
    script = DEPLOY / "docker" / "dependencies.py"
    code, printed = told([sys.executable, script, DEPLOY.parent / "pyproject.toml", "fast"])

    assert code == 0
    assert "openvino" in printed
    assert "pynetdicom" in printed
    assert 'if [ "$VARIANT" = cpu ]; then set -- fast; fi' in DOCKERFILE.read_text()


def test_a_worker_that_does_not_answer_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BONEAGE_HTTP__PORT", "9")  # discard: nobody listens
    code, printed = told([sys.executable, DEPLOY / "docker" / "ready.py"])

    assert code == 1
    assert "does not answer" in printed


def test_compose_files_keep_to_the_specification() -> None:
    checker = of_this_environment("check-jsonschema")
    files = sorted(COMPOSE.parent.glob("compose*.yaml"))
    code, printed = told([checker, "--builtin-schema", "vendor.compose-spec", *files])

    assert code == 0, printed


def test_every_image_of_compose_has_a_version() -> None:
    tags = [one["image"].partition(":")[2] for one in services().values()]

    assert all(re.search(r"\d|cpu", tag) for tag in tags), tags


def test_nothing_of_compose_can_be_reached_from_outside() -> None:
    published = [port for one in services().values() for port in one.get("ports", ())]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published), published


def test_the_containers_of_the_worker_may_write_nowhere_but_where_they_must() -> None:
    worker = services()["worker"]

    assert worker["read_only"] is True
    assert worker["cap_drop"] == ["ALL"]
    assert worker["volumes"] == ["storage:/var/lib/boneage"]


def test_the_settings_in_compose_are_settings() -> None:
    config = load_config(DEPLOY / "compose" / "config.toml", environment={})

    assert config.database.url.startswith("postgresql+psycopg://")
    assert config.http.enabled


def test_worker_and_orthanc_of_compose_know_one_another() -> None:
    config = load_config(DEPLOY / "compose" / "config.toml", environment={})
    orthanc = json.loads((DEPLOY / "compose" / "orthanc.json").read_text(encoding="utf-8"))
    [peer] = config.peer
    entry = orthanc["DicomModalities"]["boneage"]

    assert (peer.ae_title, peer.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    assert peer.host in services()
    assert (entry["AET"], entry["Port"]) == (config.listener.ae_title, config.listener.port)
    assert entry["Host"] in services()["worker"]["networks"]["dicom"]["aliases"]


def test_every_file_that_compose_mounts_is_there() -> None:
    document = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    named = [each["file"] for each in document["configs"].values()]
    named += [
        volume.partition(":")[0]
        for one in services().values()
        for volume in one.get("volumes", ())
        if volume.startswith(".")
    ]

    assert [name for name in named if not (COMPOSE.parent / name).exists()] == []
