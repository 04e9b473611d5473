"""TLS as DICOM wants it: the BCP 195 profile (PS3.15 annex B; RFC 9325), for both directions."""

import ssl
from collections.abc import Mapping
from pathlib import Path

from schemas.config import ListenerTlsSection, PeerTlsSection
from schemas.errors import PermanentError

#: RFC 9325, section 4.2: forward secrecy and authenticated encryption. TLS 1.3 has no others.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class TlsFilesError(PermanentError):
    """Certificate, key or CA cannot be used."""

    code = "tls.files"

    def __init__(self, *, found: str) -> None:
        """``found`` names the file and what is wrong with it."""
        super().__init__(
            f"TLS cannot be set up: {found}. Certificates are PEM files, the certificate with its "
            "chain; the key is a PEM file without a password. Mend the paths in config.toml, or "
            "the rights of the files."
        )
        self.found = found


class TlsSocket(ssl.SSLSocket):
    """A connection that remembers why its handshake failed."""

    failure = ""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own signature
        """Agree on TLS with the peer.

        Raises:
            OSError: not agreed; ``failure`` says why.
        """
        try:
            super().do_handshake(block)
        except OSError as error:
            self.failure = reason_of(error)
            raise


def listening_context(section: ListenerTlsSection) -> ssl.SSLContext:
    """Return how senders are met; mutual if there is a CA for them.

    Raises:
        TlsFilesError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_certificate(context, certificate=section.certificate, key=section.key)
    if section.client_ca is not None:
        _load_authorities(context, section.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def calling_context(section: PeerTlsSection) -> ssl.SSLContext:
    """Return how a destination is met: its certificate must be valid and bear its name.

    Raises:
        TlsFilesError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)  # it requires and checks certificate and name
    if section.ca is None:
        context.load_default_certs()
    else:
        _load_authorities(context, section.ca)
    if section.certificate is not None:
        _load_certificate(context, certificate=section.certificate, key=section.key)
    return context


def names_in(certificate: Mapping[str, object]) -> frozenset[str]:
    """Return the common names and DNS names of a certificate, as ``getpeercert`` gives it."""
    names: set[str] = set()
    subject, others = certificate.get("subject", ()), certificate.get("subjectAltName", ())
    if isinstance(subject, tuple):
        names |= {value for part in subject for key, value in part if key == "commonName"}
    if isinstance(others, tuple):
        names |= {value for kind, value in others if kind == "DNS"}
    return frozenset(names)


def reason_of(error: OSError) -> str:
    """Return why TLS was not agreed, in words that hold nothing from the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "the connection ended")
    return "it took too long" if isinstance(error, TimeoutError) else "the connection ended"


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9325, section 3.1.1
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.sslsocket_class = TlsSocket
    return context


def _load_certificate(
    context: ssl.SSLContext, *, certificate: Path | None, key: Path | None
) -> None:
    if certificate is None or key is None:
        raise TlsFilesError(found="certificate and key are not both named")
    try:
        # without a password, OpenSSL would ask for one at the terminal
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise TlsFilesError(found=_told(error, f"{certificate} with {key}")) from error


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise TlsFilesError(found=_told(error, str(path))) from error


def _told(error: Exception, what: str) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{what} cannot be used ({error.reason or 'no PEM'})"
    reason = error.strerror if isinstance(error, OSError) else "no PEM"
    return f"{what} cannot be read ({reason})"
