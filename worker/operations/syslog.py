"""Syslog as an audit repository takes it: RFC 5424 over TCP or TLS, with octet counting."""

import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schemas.config import PeerTlsSection, SyslogProtocol, SyslogSection
from schemas.errors import TransientError, UsageError
from worker.tls import calling_context

_SECURITY, _NOTICE = 10, 5  # RFC 5424, table 1 and 2: security/authorization, notice
PRIORITY: Final = 8 * _SECURITY + _NOTICE  # 85, as PS3.15 A.6 and IHE ITI-20 ask for
MESSAGE_ID: Final = "DICOM+RFC3881"  # PS3.15, A.6
_BOM = b"\xef\xbb\xbf"  # RFC 5424, section 6.4: the message is UTF-8
_SECONDS = 10.0


class AuditRepositoryAwayError(TransientError):
    """The audit repository did not take the messages; they wait in their order."""

    code = "audit.repository"

    def __init__(self, *, host: str, port: int, found: str) -> None:
        super().__init__(
            f"The audit repository {host}:{port} did not take the messages ({found}). New events "
            "wait in audit-spool/ and are sent by themselves, in their order; an export is not: "
            "repeat it. Is it running, and are [audit.syslog] host, port, protocol and "
            "certificates right?"
        )


class NoRepositoryError(UsageError):
    """Messages are to be sent, and it is not said where."""

    code = "audit.no_repository"

    def __init__(self) -> None:
        super().__init__(
            "No audit repository is named, so nothing was sent. Set [audit.syslog] host and port."
        )


def syslog_line(message: bytes, *, at: datetime, host: str) -> bytes:
    """Return one RFC 5424 message around an audit message; ``at``: when it happened."""
    stamp = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    name = "".join(one for one in host if one.isascii() and one.isprintable() and one != " ")
    head = f"<{PRIORITY}>1 {stamp} {name or '-'} boneage-worker - {MESSAGE_ID} - "
    return head.encode() + _BOM + message


def framed(line: bytes) -> bytes:
    """Return the line behind its length (RFC 5425, section 4.3; RFC 6587, section 3.4.1)."""
    return f"{len(line)} ".encode() + line


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogSender:
    """Brings lines to one server."""

    section: SyslogSection

    def send(self, lines: Iterable[bytes]) -> None:
        """Send all of them over one connection; return when the server's side has them.

        Syslog has no answer. We close our direction and wait until the server closes its own, or
        until its machine has acknowledged every byte; what fails before is sent again.

        Raises:
            AuditRepositoryAwayError: not all of them arrived.
            TlsFilesError: a certificate cannot be used.
        """
        address = (self.section.host, self.section.port)
        try:
            with socket.create_connection(address, _SECONDS) as plain:
                if self.section.protocol is SyslogProtocol.TCP:
                    _exchange(plain, lines)
                    return
                with self._secured(plain) as secured:
                    _exchange(secured, lines)
        except OSError as error:
            found = error.strerror or type(error).__name__
            if isinstance(error, ssl.SSLCertVerificationError):
                found = str(error.verify_message)
            host, port = address
            raise AuditRepositoryAwayError(host=host, port=port, found=found) from error

    def _secured(self, plain: socket.socket) -> ssl.SSLSocket:
        section = self.section
        context = calling_context(
            PeerTlsSection(ca=section.ca, certificate=section.certificate, key=section.key)
        )
        return context.wrap_socket(plain, server_hostname=section.host_name or section.host)


def _exchange(connection: socket.socket, lines: Iterable[bytes]) -> None:
    for line in lines:
        connection.sendall(framed(line))
    try:
        if isinstance(connection, ssl.SSLSocket):
            connection = connection.unwrap()  # close_notify, and the server's answer to it
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    except ssl.SSLEOFError:  # it closed without a word, as many do, and not by a reset
        return
    except TimeoutError:
        if _unacknowledged(connection):
            raise


def _unacknowledged(connection: socket.socket) -> int:
    """Return how many bytes the other machine has not acknowledged (tcp(7), SIOCOUTQ)."""
    waiting: int = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0]
    return waiting
