"""The token that opens everything but health, metrics and the status page."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from starlette.requests import Request

from worker.files import sync_folder
from worker.http.errors import NotAllowedError, TokenFileError

TOKEN_FILE: Final = "http.token"  # in the storage root, unless the settings name another  # noqa: S105
_TOKEN_BYTES: Final = 32
_LEAST_LETTERS: Final = 20  # 100 bits and more, of letters and digits
_OTHERS: Final = 0o077  # rights of group and others


class Token:
    """One secret of this installation; kept as a digest, compared in constant time."""

    def __init__(self, secret: str) -> None:
        self._digest = _digest(secret)

    def fits(self, secret: str) -> bool:
        """Say whether this is the secret."""
        return hmac.compare_digest(self._digest, _digest(secret))

    def require(self, request: Request) -> None:
        """Return if the request carries the token.

        Raises:
            NotAllowedError: it does not.
        """
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.fits(secret.strip()):
            raise NotAllowedError


def read_or_make_token(path: Path) -> Token:
    """Return the token of this installation; make one, for us alone, if there is none yet.

    Raises:
        TokenFileError: it cannot be read or made, is too short, or others may read it.
    """
    try:
        if not path.exists():
            _make(path)
        secret = path.read_text(encoding="utf-8").strip()
        rights = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        found = f"cannot be used ({getattr(error, 'strerror', None) or 'it is no text'})"
        raise TokenFileError(path=path, found=found) from error
    if len(secret) < _LEAST_LETTERS:
        raise TokenFileError(path=path, found=f"has less than {_LEAST_LETTERS} letters")
    if rights & _OTHERS:
        raise TokenFileError(path=path, found="can be read by others")
    return Token(secret)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was faster: its token holds
        return
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(secrets.token_urlsafe(_TOKEN_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
