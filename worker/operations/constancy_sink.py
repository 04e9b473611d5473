"""The destination of the constancy check: takes our results over a real association, and forgets.

It lives in the process `deliver`, on a port of the loopback that only this process knows.
"""

from types import TracebackType
from typing import Final, Self

from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from schemas.config import PeerSection
from schemas.phantom import CONSTANCY_AE
from worker.logs import log
from worker.operations.constancy_peers import constancy_peer

_SUCCESS: Final = 0x0000
_CANNOT_UNDERSTAND: Final = 0xC000  # PS3.4 table B.2-1
_CLASSES: Final = (
    BasicTextSRStorage,
    EnhancedSRStorage,
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
)


class ConstancySink:
    """A Storage SCP that reads each object, answers, and keeps nothing."""

    def __init__(self) -> None:
        self._server: ThreadedAssociationServer | None = None

    def __enter__(self) -> Self:
        application = AE(CONSTANCY_AE)
        application.require_called_aet = True
        for each in _CLASSES:
            application.add_supported_context(each)
        self._server = application.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, _take)]
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()

    @property
    def peer(self) -> PeerSection:
        """Return where it listens, as `deliver` sends to it."""
        if self._server is None:
            return constancy_peer()
        return constancy_peer(port=int(self._server.server_address[1]))


def _take(event: evt.Event) -> int:
    try:
        dataset = event.dataset
        is_whole = all(keyword in dataset for keyword in ("SOPInstanceUID", "StudyInstanceUID"))
    except Exception:  # noqa: BLE001 - whatever cannot be parsed is a failed check
        log.exception("constancy.unreadable")
        return _CANNOT_UNDERSTAND
    return _SUCCESS if is_whole else _CANNOT_UNDERSTAND
