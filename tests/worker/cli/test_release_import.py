"""`boneage release import`: its exit codes, and that a refusal leaves nothing behind."""

import json
from pathlib import Path

import pytest
import torch

from models.release.manifest import verify_release
from tests.models.release import foreign_checkpoints as theirs
from worker.cli.application import main


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as raised:
        main(["release", "import", *arguments])
    said = capsys.readouterr()
    return int(raised.value.code or 0), said.out, said.err


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def write_bad(folder: Path, kind: str) -> Path:
    if kind == "missing":
        return folder / "missing.ckpt"
    if kind == "foreign class":
        return saved(folder / "foreign.ckpt", {"state_dict": {}, "model": torch.nn.Linear(1, 1)})
    if kind == "unknown layout":
        return saved(folder / "unknown.ckpt", {"state_dict": {"a.weight": torch.zeros(2, 2)}})
    whole = saved(folder / "cut.ckpt", {"state_dict": {"a.weight": torch.zeros(99, 99)}})
    whole.write_bytes(whole.read_bytes()[:500])
    return whole


@pytest.mark.parametrize("kind", ["missing", "foreign class", "unknown layout", "cut off"])
def test_a_checkpoint_that_cannot_be_imported_ends_with_1_and_writes_nothing(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, into = write_bad(tmp_path, kind), tmp_path / "releases"

    code, out, err = ended([str(path), "--name", "theirs", "--into", str(into)], capsys)

    assert code == 1
    assert out == ""
    assert path.name in err
    assert "othing was written" in err
    assert "Traceback" not in err
    assert not into.exists() or not list(into.iterdir())


def test_wrong_usage_of_an_import_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_bad(tmp_path, "cut off")

    code, _, err = ended([str(path), "--name", "theirs", "--mask-crop", "0.5"], capsys)

    assert code == 2
    assert "--mask-crop" in err


def test_a_good_import_ends_with_0_and_a_release_that_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "small.ckpt", {"state_dict": theirs.legacy_efficientnet("b0")})
    arguments = [str(path), "--name", "theirs", "--into", str(tmp_path), "--input-size", "64",
                 "--mask-crop", "0", "--json"]  # fmt: skip

    code, out, err = ended(arguments, capsys)

    assert code == 0, err
    assert json.loads(out)["name"] == "theirs"
    assert verify_release(tmp_path / "theirs").name == "theirs"
