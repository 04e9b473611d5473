"""The systemd units: understood by systemd, and shut as tightly as they can be."""

import re
import shlex
from pathlib import Path

import pytest

from tests.deploy.programs import DEPLOY, told
from tests.orthanc import require_program
from worker.operations.configuration import load_config
from worker.operations.supervisor import USAGE_EXIT

UNITS = DEPLOY / "systemd"
#: of `systemd-analyze security`, 0 (shut) to 10 (open); what is left is the network that DICOM
#: needs, and the compiled kernels of PyTorch
HIGHEST_EXPOSURE = 1.5


@pytest.fixture
def analyze() -> str:
    return require_program("systemd-analyze")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with a program that is there: the real one lies in /opt on the machine."""
    for path in UNITS.iterdir():
        text = path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(text.replace("/opt/boneage/bin/boneage", "/bin/true"))
    return tmp_path


@pytest.mark.parametrize("name", ["boneage.service", "boneage@.service"])
def test_exposure_stays_under_the_threshold(analyze: str, name: str) -> None:
    threshold = f"--threshold={HIGHEST_EXPOSURE * 10:.0f}"
    code, printed = told(
        [analyze, "security", "--offline=true", "--no-pager", threshold, UNITS / name]
    )

    assert code == 0, printed


@pytest.mark.parametrize(
    "name", ["boneage.service", "boneage@listen.service", "boneage@infer.service", "boneage.target"]
)
def test_systemd_finds_nothing_wrong_with_a_unit(analyze: str, installed: Path, name: str) -> None:
    if "@" in name and name != "boneage@.service":
        (installed / name).write_text((installed / "boneage@.service").read_text())
    code, printed = told([analyze, "verify", "--man=no", "--recursive-errors=no", installed / name])

    complaints = [line for line in printed.splitlines() if str(installed) in line or name in line]
    assert (code, complaints) == (0, []), printed


def test_the_target_starts_every_process() -> None:
    target = (UNITS / "boneage.target").read_text(encoding="utf-8")

    assert set(re.findall(r"boneage@(\w+)\.service", target)) == {
        "listen", "infer", "deliver", "schedule", "http",
    }  # fmt: skip


def test_both_ways_to_run_it_are_shut_alike() -> None:
    def hardening(name: str) -> list[str]:
        text = (UNITS / name).read_text(encoding="utf-8")
        return [
            line
            for line in text.partition("# what it may write")[2].splitlines()
            if "=" in line and not line.startswith(("#", "WantedBy"))
        ]

    assert hardening("boneage.service") == hardening("boneage@.service")


def test_refused_settings_are_not_tried_for_ever() -> None:
    for name in ("boneage.service", "boneage@.service"):
        assert f"RestartPreventExitStatus={USAGE_EXIT}\n" in (UNITS / name).read_text()


def test_the_settings_of_the_units_keep_to_the_state_directory() -> None:
    config = load_config(UNITS / "config.toml", environment={})

    assert config.storage.root == Path("/var/lib/boneage")
    assert "StateDirectory=boneage\n" in (UNITS / "boneage.service").read_text(encoding="utf-8")


def test_the_command_of_a_unit_is_one_of_ours() -> None:
    for name in ("boneage.service", "boneage@.service"):
        [line] = re.findall(r"^ExecStart=(.*)$", (UNITS / name).read_text(), re.MULTILINE)
        assert shlex.split(line)[:2] == ["/opt/boneage/bin/boneage", "serve"]
