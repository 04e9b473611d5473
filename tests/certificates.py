"""An authority of the tests' own, made by the `openssl` command."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for names; its own certificate is ``ca``."""

    def __init__(self, folder: Path, *, name: str = "Test Authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("the openssl command is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca-key.pem"
        _openssl(
            *("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", "-days", "2"),
            *("-keyout", str(self._key), "-out", str(self.ca)),
        )

    def issue(self, common_name: str, *, alternatives: str = "", days: int = 2) -> Credentials:
        """Return new credentials; ``alternatives`` such as ``"DNS:pacs.test,IP:127.0.0.1"``."""
        stem = self._folder / f"{common_name}-{len(list(self._folder.iterdir()))}"
        made = Credentials(certificate=stem.with_suffix(".pem"), key=stem.with_suffix(".key"))
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        lines = ["basicConstraints=CA:FALSE"]
        lines += [f"subjectAltName={alternatives}"] if alternatives else []
        extensions.write_text("\n".join(lines))
        _openssl(
            *("req", *_NEW_KEY, "-subj", f"/CN={common_name}"),
            *("-keyout", str(made.key), "-out", str(request)),
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-days", str(days), "-CAcreateserial"),
            *("-CA", str(self.ca), "-CAkey", str(self._key), "-extfile", str(extensions)),
            *("-out", str(made.certificate)),
        )
        return made


def calling(authority: Authority, credentials: Credentials | None = None) -> ssl.SSLContext:
    """Return how a client trusts ``authority`` and shows ``credentials``; it asks for no name."""
    context = ssl.create_default_context(cafile=authority.ca)
    context.check_hostname = False
    if credentials is not None:
        context.load_cert_chain(credentials.certificate, credentials.key)
    return context


_NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
