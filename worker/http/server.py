"""One HTTP server in a thread of its own, so that the process may wait for the word to stop."""

import socket
import threading
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from worker.http.errors import PortTakenError
from worker.logs import log

_GRACE_SECONDS: Final = 5
_KEEP_ALIVE_SECONDS: Final = 5
#: connections at once; one more is told to come back (503). The page, a scraper, a few clients
_MOST_CONNECTIONS: Final = 64


class HttpServer:
    """Serves one application until it is stopped. Requests are never logged: a URL may hold a UID.

    The socket is bound before the thread starts, so that a port that is taken is an error of ours.
    """

    def __init__(self, application: ASGIApp, *, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None
        self._has_ended = threading.Event()
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                access_log=False,
                date_header=True,
                http="h11",
                lifespan="off",
                limit_concurrency=_MOST_CONNECTIONS,
                log_config=None,
                loop="asyncio",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                ws="none",
            )
        )
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        """Return the port that is listened on, after ``start``."""
        return self._port

    def start(self) -> None:
        """Listen, and return at once.

        Raises:
            PortTakenError: the address cannot be bound.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._socket = socket.create_server((self._host, self._port), family=family)
        except OSError as error:
            problem = error.strerror or type(error).__name__
            raise PortTakenError(host=self._host, port=self._port, problem=problem) from error
        self._port = int(self._socket.getsockname()[1])
        self._thread.start()
        log.info("http.listening", host=self._host, port=self._port)

    def stop(self) -> None:
        """End what is being answered, within a few seconds, and close the port."""
        self._server.should_exit = True
        self._thread.join(timeout=2 * _GRACE_SECONDS)
        if self._socket is not None:
            self._socket.close()
        log.info("http.stopped")

    def run(self, stop: threading.Event) -> None:
        """Serve until ``stop`` is set, or the server falls."""
        self.start()
        try:
            while not (stop.wait(0.2) or self._has_ended.is_set()):
                pass
        finally:
            self.stop()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket] if self._socket else None)
        finally:
            self._has_ended.set()
