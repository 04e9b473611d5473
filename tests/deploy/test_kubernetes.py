"""The manifests: against the schemas of Kubernetes, and against one another. No cluster runs."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.programs import DEPLOY
from worker.operations.configuration import load_config

KUBERNETES = DEPLOY / "kubernetes"
BASE = KUBERNETES / "base"
#: of Kubernetes: the oldest that we say we run on, and the newest that the schemas are sure to have
OLDEST, NEWEST = "1.28", "1.33"

Manifest = dict[str, Any]


def manifests(folder: Path = BASE) -> list[Manifest]:
    return [
        found
        for path in sorted(folder.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for found in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def rendered(overlay: str) -> list[Manifest]:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed; it renders overlays")
    folder = KUBERNETES / overlay
    done = subprocess.run(
        [program, "kustomize", folder], check=True, capture_output=True, text=True, timeout=60
    )
    return list(yaml.safe_load_all(done.stdout))


def pods(found: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for one in found:
        if "template" in one.get("spec", {}):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def test_every_manifest_keeps_to_the_schema_of_the_oldest_version() -> None:
    assert len(manifests()) > 10
    for one in manifests():
        kubernetes_validate.validate(one, OLDEST, strict=True)


@pytest.mark.parametrize("overlay", ["overlays/cpu", "overlays/gpu"])
def test_every_overlay_renders_to_valid_manifests(overlay: str) -> None:
    found = rendered(overlay)

    assert len(found) > len(manifests())  # and the settings
    for one in found:
        if one["kind"] in ("Deployment", "ConfigMap"):  # what an overlay makes or changes
            kubernetes_validate.validate(one, NEWEST, strict=True)


def test_every_file_of_the_base_is_used() -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    there = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}

    assert set(listed) == there


def test_each_reading_pod_of_the_gpu_overlay_has_one_gpu() -> None:
    [pod] = [pod for name, pod in pods(rendered("overlays/gpu")) if name == "boneage-infer"]
    [container] = pod["containers"]

    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "BONEAGE_INFERENCE__DEVICES", "value": '["cuda:0"]'} in container["env"]


def test_no_pod_may_more_than_the_restricted_profile_allows() -> None:
    found = list(pods(manifests()))
    assert len(found) == 5
    for name, pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name


def test_there_is_never_a_second_listener_on_the_spool() -> None:
    [listener] = [
        one
        for one in manifests()
        if one["metadata"]["name"] == "boneage-listener" and "template" in one["spec"]
    ]

    assert listener["kind"] == "StatefulSet"
    assert listener["spec"]["replicas"] == 1


def test_reading_pods_may_call_nobody_but_the_database() -> None:
    policies = [one for one in manifests() if one["kind"] == "NetworkPolicy"]
    of_infer = [
        one for one in policies
        if one["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component")
        in (None, "infer")
    ]  # fmt: skip
    ports = {port["port"] for one in of_infer for rule in one["spec"].get("egress", ())
             for port in rule["ports"]}  # fmt: skip

    assert ports == {53, 5432}


def test_the_settings_of_the_pods_are_settings() -> None:
    config = load_config(BASE / "config.toml", environment={})

    assert config.database.url.startswith("postgresql+psycopg://")


def test_every_selector_finds_its_pods() -> None:
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in manifests() if "template" in one.get("spec", {})
    ]  # fmt: skip
    for one in manifests():
        selector = one["spec"].get("selector") or {} if "spec" in one else {}
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= found.items() for found in labels), one["metadata"]["name"]
