"""A syslog server on the loopback that reads octet-counted frames, in the clear or by TLS."""

import queue
import socket
import ssl
import threading
from types import TracebackType
from typing import Self

_LIMIT_SECONDS = 20


class SyslogServer:
    """Takes lines on a free port, or on the one given, until it is left."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(_LIMIT_SECONDS)

    def lines(self, count: int) -> list[bytes]:
        """Return the next ``count`` lines, in the order in which they came."""
        return [self._lines.get(timeout=_LIMIT_SECONDS) for _ in range(count)]

    def _serve(self) -> None:
        while True:
            try:
                plain, _address = self._socket.accept()
            except OSError:
                return
            with plain:
                plain.settimeout(_LIMIT_SECONDS)
                self._read(plain)

    def _read(self, plain: socket.socket) -> None:
        try:
            if self._tls is None:
                self._read_frames(plain)
                return
            with self._tls.wrap_socket(plain, server_side=True) as secured:
                self._read_frames(secured)
                secured.unwrap().close()
        except OSError:  # a client that does not trust us, or is gone
            return

    def _read_frames(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while length := _number(stream.read(1), stream):
            self._lines.put(stream.read(length))
        stream.close()


def _number(first: bytes, stream: "socket.SocketIO | object") -> int:
    """Return the octet count in front of a frame (RFC 5425, 4.3); 0 at the end."""
    digits = first
    while digits and digits[-1:] != b" ":
        digits += stream.read(1)  # type: ignore[union-attr] # a buffered stream
    return int(digits or b"0")
