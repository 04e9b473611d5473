"""Files that survive a power cut, with the folders that lead to them."""

import os
from pathlib import Path

import pytest

from worker.files import write_durably


def test_every_folder_that_is_made_for_a_file_is_flushed_into_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    fsync = os.fsync

    def recorded(handle: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recorded)

    write_durably(tmp_path / "results" / "7" / "content.json", b"{}")

    folders = [path for path in flushed if path.is_dir()]
    assert folders == [tmp_path, tmp_path / "results", tmp_path / "results" / "7"]


def test_a_folder_that_was_there_is_not_made_again(tmp_path: Path) -> None:
    write_durably(tmp_path / "content.json", b"first")
    write_durably(tmp_path / "content.json", b"second")

    assert (tmp_path / "content.json").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["content.json"]
