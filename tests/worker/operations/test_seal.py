from pathlib import Path

import pytest

from worker.operations.seal import AuditSeal, SealKeyError


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
