import os
from pathlib import Path

import pytest

from schemas.config import Config
from schemas.errors import SchemaMismatchError
from worker.app.search import search_index
from worker.operations.seal import AuditSeal, SealKeyError, make_key_file


def seal_in(folder: Path) -> AuditSeal:
    return AuditSeal(key_file=folder / "audit.key", anchor=folder / "audit.anchor")


def test_a_key_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    seal = seal_in(tmp_path)

    seal.make_key()
    first = seal.key()
    seal.make_key()

    assert seal.key() == first
    assert len(first) == 32
    assert seal.key_file.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["audit.key"]


def test_a_lost_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    seal = seal_in(tmp_path)
    seal.anchor.write_text("sealed before")

    with pytest.raises(SealKeyError, match="is gone"):
        seal.make_key()


def test_without_a_key_nothing_is_verified(tmp_path: Path) -> None:
    with pytest.raises(SealKeyError, match="cannot be read"):
        seal_in(tmp_path).key()


def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    seal = seal_in(tmp_path)
    seal.key_file.write_bytes(b"short")

    with pytest.raises(SealKeyError, match="less than 32 bytes"):
        seal.key()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for others")
def test_a_key_that_root_makes_belongs_to_the_owner_of_its_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)

    make_key_file(tmp_path / "search.key")

    found = (tmp_path / "search.key").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65534, 0o600)


def test_before_the_first_start_a_search_makes_no_key(tmp_path: Path) -> None:
    config = Config.model_validate({"storage": {"root": tmp_path}})

    with pytest.raises(SchemaMismatchError):
        search_index(config)

    assert list(tmp_path.iterdir()) == []
