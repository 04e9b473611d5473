"""A small PACS for the demo: keeps what it gets, and routes images to the worker.

Not a test double and not for patients: it lives as long as one run, on the loopback alone.
"""

import itertools
import queue
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import ThreadedAssociationServer

from schemas.config import PeerSection
from schemas.errors import BoneAgeError
from worker.operations.peer import send_files

AE_TITLE = "DEMOPACS"
_SUCCESS = 0x0000


class EmbeddedPacs:
    """Stores objects under ``folder``; what does not come from the worker is routed to it."""

    def __init__(self, folder: Path, *, worker: PeerSection) -> None:
        self._folder = folder
        self._worker = worker
        self._results: dict[str, Path] = {}  # SOP Instance UID to file, in the order of arrival
        self._unrouted: dict[str, str] = {}  # SOP Instance UID to what the worker said to it
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._to_route: queue.Queue[tuple[str, Path] | None] = queue.Queue()
        self._router = threading.Thread(target=self._route_all, name="router", daemon=True)
        self._server: ThreadedAssociationServer | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._server = self._application().start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._handle_store)]
        )
        self._router.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._to_route.put(None)
        if self._server is not None:
            self._server.shutdown()

    @property
    def port(self) -> int:
        """Return the port that it listens on; 0 before it does."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def results(self) -> list[FileDataset]:
        """Return every object that came from the worker, in the order of arrival."""
        with self._changed:
            paths = list(self._results.values())
        return [dcmread(path) for path in paths]

    def unrouted(self) -> dict[str, str]:
        """Return what the worker did not take: SOP Instance UID to its answer in words."""
        with self._changed:
            return dict(self._unrouted)

    def wait_for_more(self, count: int, *, seconds: float) -> int:
        """Return how many objects came from the worker, as soon as they are more than ``count``.

        Returns early when an image was not taken, and after ``seconds`` in any case.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._results) > count or bool(self._unrouted), timeout=seconds
            )
            return len(self._results)

    def _application(self) -> AE:
        application = AE(AE_TITLE)
        application.maximum_pdu_size = 131072
        for context in AllStoragePresentationContexts:
            application.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        return application

    def _handle_store(self, event: evt.Event) -> int:
        uid = str(cast("C_STORE", event.request).AffectedSOPInstanceUID)
        is_result = event.assoc.requestor.ae_title.strip() == self._worker.ae_title
        path = self._folder / f"{next(self._numbers):06}.dcm"
        path.write_bytes(event.encoded_dataset())
        if is_result:
            with self._changed:
                self._results[uid] = path
                self._changed.notify_all()
        else:
            self._to_route.put((uid, path))
        return _SUCCESS

    def _route_all(self) -> None:
        while (order := self._to_route.get()) is not None:
            uid, path = order
            answer = self._route(path)
            if answer is not None:
                with self._changed:
                    self._unrouted[uid] = answer
                    self._changed.notify_all()

    def _route(self, path: Path) -> str | None:
        """Send one image to the worker; return why it was not taken, or nothing."""
        try:
            (sent,) = send_files([path], peer=self._worker, calling_ae=AE_TITLE)
        except BoneAgeError as error:
            return str(error)
        if sent.status == _SUCCESS:
            return None
        if sent.status is None:
            return "the worker does not take this kind of object (see the README, conformance)"
        return f"the worker answered 0x{sent.status:04X}"


def free_port() -> int:
    """Return a port of the loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
