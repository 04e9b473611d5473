import errno
import hashlib
import resource
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom import dcmread

from schemas.config import StorageSection
from tests.worker.listener.encoding import DX, EXPLICIT, dataset
from worker.listener import spool as spool_module
from worker.listener.errors import NoRoomError, SpoolWriteError, TooLargeError
from worker.listener.spool import FileMeta, IncomingFile, KeptFile, Spool

META = FileMeta(sop_class_uid=DX, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT)
CONTENT = dataset()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    # other programs may have filled this disk: no matter here
    made = Spool(StorageSection(root=tmp_path, high_mark_percent=100, low_mark_percent=100))
    made.sweep()
    return made


def arrive(spool: Spool, content: bytes = CONTENT) -> IncomingFile:
    incoming = spool.open(META, limit_bytes=10_000)
    for start in range(0, len(content), 7):
        incoming.write(content[start : start + 7])
    return incoming


def keep(spool: Spool, content: bytes = CONTENT) -> KeptFile:
    return spool.keep(arrive(spool, content), sop_instance_uid="1.2.3")


def halves(root: Path) -> list[Path]:
    return list((root / "incoming").iterdir())


def test_a_kept_file_is_a_dicom_file_with_the_bytes_as_received(
    spool: Spool, tmp_path: Path
) -> None:
    kept = keep(spool)
    path = tmp_path / kept.spool_file

    assert path.read_bytes().endswith(CONTENT)
    assert dcmread(path).SOPInstanceUID == "1.2.3"
    assert dcmread(path).file_meta.TransferSyntaxUID == EXPLICIT
    assert halves(tmp_path) == []


def test_the_digest_is_that_of_the_data_set_without_file_meta(spool: Spool) -> None:
    kept = keep(spool)

    assert kept.digest == hashlib.sha256(CONTENT).hexdigest()
    assert kept.size_bytes == len(CONTENT)


def test_the_same_content_again_leaves_the_first_file_alone(spool: Spool, tmp_path: Path) -> None:
    first = keep(spool)
    before = (tmp_path / first.spool_file).stat()
    second = keep(spool)
    after = (tmp_path / second.spool_file).stat()

    assert second == first
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert halves(tmp_path) == []


def test_another_content_under_the_same_uid_has_another_name(spool: Spool) -> None:
    assert keep(spool).spool_file != keep(spool, CONTENT + b"\0\0").spool_file


def test_a_sweep_removes_halves_but_never_kept_files(spool: Spool, tmp_path: Path) -> None:
    kept = keep(spool)
    for name in ("a.part", "b.part"):
        (tmp_path / "incoming" / name).write_bytes(CONTENT)

    assert spool.sweep() == 2
    assert halves(tmp_path) == []
    assert (tmp_path / kept.spool_file).exists()


def test_a_sweep_makes_every_folder_that_a_file_may_lie_in(spool: Spool, tmp_path: Path) -> None:
    folders = sorted(path.name for path in (tmp_path / "spool").iterdir())
    assert folders == [f"{number:02x}" for number in range(256)]
    shutil.rmtree(tmp_path / "spool" / "7f")

    spool.sweep()
    assert (tmp_path / "spool" / "7f").is_dir()


def test_a_folder_that_somebody_removed_is_made_again(spool: Spool, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "spool")
    assert (tmp_path / keep(spool).spool_file).exists()


def test_an_object_above_the_limit_is_refused_without_filling_the_disk(
    spool: Spool, tmp_path: Path
) -> None:
    incoming = arrive(spool, bytes(20_000))

    assert halves(tmp_path) == []
    with pytest.raises(TooLargeError, match="largest_file_megabytes"):
        incoming.finish()


def test_a_disk_that_fails_while_an_object_arrives_is_told_at_its_end(
    spool: Spool, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        incoming = arrive(spool)
        with pytest.raises(SpoolWriteError, match=str(errno.EFBIG)):
            incoming.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert halves(tmp_path) == []


def test_a_spool_that_is_gone_refuses_instead_of_raising(spool: Spool, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "incoming")

    with pytest.raises(SpoolWriteError):
        arrive(spool).finish()


def test_a_failing_rename_is_a_spool_error(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_paths: Path) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(spool_module, "keep_durably", refuse)
    with pytest.raises(SpoolWriteError):
        keep(spool)


def test_the_disk_is_closed_at_its_high_mark_until_it_is_below_the_low_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = StorageSection(root=tmp_path, high_mark_percent=90, low_mark_percent=80)
    spool = Spool(section)
    answers = []
    for used in (89, 91, 85, 79, 85):
        usage = SimpleNamespace(total=200, used=used, free=100 - used)  # the rest is reserved
        monkeypatch.setattr(shutil, "disk_usage", lambda _root, usage=usage: usage)
        answers.append(spool.has_room())

    assert answers == [True, False, False, True, True]


def test_a_full_disk_refuses_before_anything_is_written(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "has_room", lambda: False)
    incoming = arrive(spool)

    assert halves(tmp_path) == []
    with pytest.raises(NoRoomError, match="high_mark_percent"):
        incoming.finish()
