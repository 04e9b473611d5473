"""The SLURM script, run by a shell with a stand-in for srun: the command that it comes to."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from tests.deploy.programs import DEPLOY
from worker.cli.application import application

SCRIPT = DEPLOY / "slurm" / "train.sbatch"


def submitted(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a compute node would."""
    stand_in = folder / "srun"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(SCRIPT), *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": path, "HOME": "/home/me", **environment},
    )


def test_one_gpu_trains_by_the_same_command_as_on_one_machine(tmp_path: Path) -> None:
    done = submitted(tmp_path, "default", "seed=3", DATA="/data/rsna", RUNS="/runs")

    assert done.stdout.splitlines() == [
        "--kill-on-bad-exit=1", "/home/me/boneage/bin/boneage", "train", "default", "seed=3",
        "--data", "/data/rsna", "--runs", "/runs", "--nodes", "1", "--devices", "1",
    ]  # fmt: skip


def test_several_gpus_share_the_work(tmp_path: Path) -> None:
    sizes = {"SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4"}
    done = submitted(tmp_path, "default", DATA="/data", **sizes)

    assert done.stdout.splitlines()[-6:] == ["--nodes", "2", "--devices", "4", "--strategy", "ddp"]


@pytest.mark.parametrize(("words", "found"), [((), "name a recipe"), (("default",), "set DATA")])
def test_what_is_missing_is_said(tmp_path: Path, words: tuple[str, ...], found: str) -> None:
    done = submitted(tmp_path, *words)

    assert done.returncode != 0
    assert found in done.stderr


def test_every_option_is_one_of_the_command(tmp_path: Path) -> None:
    sizes = {"SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4"}
    told = submitted(tmp_path, "default", DATA="/data", **sizes).stdout.splitlines()[1:]
    train = get_command(application()).commands["train"]  # type: ignore[attr-defined] # a group
    known = {option for parameter in train.params for option in parameter.opts}

    assert {word for word in told if word.startswith("--")} <= known


def test_the_job_goes_on_after_its_time_is_over() -> None:
    options = [line.removeprefix("#SBATCH ") for line in SCRIPT.read_text().splitlines()]

    assert "--requeue" in options
    assert "--open-mode=append" in options
    assert any(option.startswith("--signal=SIGUSR1@") for option in options)
