"""Where the key that seals the audit trail and the head of the sealed chain lie."""

import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import PermanentError
from worker.files import sync_folder

KEY_BYTES = 32  # HMAC-SHA256: as long as its output (RFC 2104, section 3)


class SealKeyError(PermanentError):
    """There is no key, or none that could seal anything."""

    code = "audit.key"

    def __init__(self, *, path: Path, found: str) -> None:
        super().__init__(
            f"The key of the audit trail in {path} {found}. Nothing was sealed or verified. Put "
            "the right key back from its copy: a new key cannot verify what the old one sealed."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSeal:
    """The key file and the anchor file of one installation."""

    key_file: Path
    anchor: Path

    def key(self) -> bytes:
        """Return the key.

        Raises:
            SealKeyError: it is not there, cannot be read, or is shorter than 32 bytes.
        """
        try:
            key = self.key_file.read_bytes()
        except OSError as error:
            found = f"cannot be read ({error.strerror})"
            raise SealKeyError(path=self.key_file, found=found) from error
        if len(key) < KEY_BYTES:
            raise SealKeyError(path=self.key_file, found=f"has less than {KEY_BYTES} bytes")
        return key

    def make_key(self) -> None:
        """Make a key, readable by us alone, if there is none; never touch one that is there.

        A missing key beside an anchor is no first start: the trail was sealed with another one.

        Raises:
            SealKeyError: the key is gone, and the anchor shows that there was one.
        """
        if self.key_file.exists():
            return
        if self.anchor.exists():
            raise SealKeyError(path=self.key_file, found="is gone")
        make_key_file(self.key_file)


def make_key_file(path: Path) -> None:
    """Write a new key that the folder's owner alone may read; one that is there holds.

    Who runs a command as root before the first start leaves a key that the worker can use.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.stat()
    handle, beside = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)  # fails where another process was faster: its key holds
    except FileExistsError:
        return
    finally:
        Path(beside).unlink()
    sync_folder(path.parent)
