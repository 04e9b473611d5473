import stat
from pathlib import Path

import pytest

from worker.http.access import read_or_make_token
from worker.http.errors import TokenFileError


def test_a_token_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"

    made = read_or_make_token(path)
    secret = path.read_text().strip()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.fits(secret)
    assert read_or_make_token(path).fits(secret)
    assert not made.fits(secret[:-1])


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 40)
    path.chmod(0o644)

    with pytest.raises(TokenFileError, match="read by others"):
        read_or_make_token(path)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_a_token_that_can_be_guessed_or_is_no_text_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(TokenFileError, match="HTTP was not started"):
        read_or_make_token(path)


def test_a_token_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(TokenFileError, match="cannot be used"):
        read_or_make_token(tmp_path / "file" / "token")
