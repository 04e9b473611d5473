"""Files that survive a power cut, with the folders that lead to them."""

import os
from pathlib import Path

import pytest

from worker.files import write_all_durably, write_durably


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is flushed, in its order, under the name that it has then."""
    paths: list[Path] = []
    fsync = os.fsync

    def recorded(handle: int) -> None:
        paths.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    return paths


def test_every_folder_that_is_made_for_a_file_is_flushed_into_the_one_above(
    tmp_path: Path, flushed: list[Path]
) -> None:
    write_durably(tmp_path / "results" / "7" / "content.json", b"{}")

    folders = [path for path in flushed if path.is_dir()]
    assert folders == [tmp_path, tmp_path / "results", tmp_path / "results" / "7"]


def test_of_files_that_go_together_each_is_flushed_before_the_folder_that_names_them(
    tmp_path: Path, flushed: list[Path]
) -> None:
    files = {"header.dcm": b"header", "content.json": b"{}", "capture.dcm": bytes(100_000)}

    write_all_durably(tmp_path, files)

    assert [path.suffix for path in flushed[:3]] == [".part"] * 3  # still without their names
    assert flushed[3:] == [tmp_path]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_folder_that_was_there_is_not_made_again(tmp_path: Path) -> None:
    write_durably(tmp_path / "content.json", b"first")
    write_durably(tmp_path / "content.json", b"second")

    assert (tmp_path / "content.json").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["content.json"]
