import errno
import fcntl
import os
from pathlib import Path

import pytest

from worker import direct
from worker.direct import STEP_BYTES, DirectFile, new_memory, put

BLOCK = 4096


def write(path: Path, content: bytes, *, step: int) -> None:
    shown = bytearray()
    file = DirectFile(path.open("xb", buffering=0), head=b"head", on_step=shown.extend)
    left = memoryview(content)
    while left:
        count = min(len(file.room), len(left), step)
        file.room[:count] = left[:count]
        file.advance(count)
        left = left[count:]
    file.close()
    assert shown == content


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, STEP_BYTES - 1, STEP_BYTES, 2 * STEP_BYTES + 4097]
)
@pytest.mark.parametrize("step", [1000, STEP_BYTES])
def test_a_file_holds_what_was_put_in_whatever_its_size(
    tmp_path: Path, size: int, step: int
) -> None:
    content = os.urandom(size)
    write(tmp_path / "file", content, step=step)
    assert (tmp_path / "file").read_bytes() == b"head" + content


def test_a_file_system_without_direct_writes_is_written_through_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = fcntl.fcntl

    def refuse(file: int, command: int, argument: int = 0) -> int:
        if argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return int(really(file, command, argument))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    content = os.urandom(STEP_BYTES + 5000)
    write(tmp_path / "file", content, step=STEP_BYTES)
    assert (tmp_path / "file").read_bytes() == b"head" + content


def test_a_disk_with_longer_blocks_is_written_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "_BLOCK_BYTES", 1)  # as if this disk had longer ones than we think
    content = os.urandom(STEP_BYTES + 5001)
    write(tmp_path / "file", content, step=STEP_BYTES)
    assert (tmp_path / "file").read_bytes() == b"head" + content


def test_a_file_that_was_closed_by_another_thread_is_not_written_any_more(tmp_path: Path) -> None:
    file = DirectFile((tmp_path / "file").open("xb", buffering=0))
    file.abandon()
    file.advance(len(file.room))
    file.close()
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("size", [0, 1, STEP_BYTES, 3 * STEP_BYTES + 4097])
def test_a_content_is_written_whole_in_one_go(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    file = DirectFile((tmp_path / "file").open("xb", buffering=0))
    put(content, file)
    file.close()
    assert (tmp_path / "file").read_bytes() == content


def test_memory_that_is_used_again_leaves_nothing_of_one_file_in_the_next(tmp_path: Path) -> None:
    memory = new_memory()
    for number, size in enumerate((2 * STEP_BYTES + 5, 3, STEP_BYTES - 1, BLOCK, 0)):
        content = bytes([number]) * size
        file = DirectFile((tmp_path / f"{number}").open("xb", buffering=0), memory=memory)
        put(content, file)
        file.close()
        assert (tmp_path / f"{number}").read_bytes() == content
