"""Reports of storage commitment that archives bring to us on associations of their own."""

from collections.abc import Iterable
from datetime import timedelta

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    StorageCommitmentPushModel,
)

from schemas.config import CommitmentKind, PeerSection
from worker.listener.errors import NOT_AUTHORISED, PROCESSING_FAILURE, SUCCESS
from worker.logs import log
from worker.queue.commitments import Commitments
from worker.reporting.commitment_report import CommitmentReportError, read_commitment_report

INVALID_ARGUMENT = 0x0115  # PS3.7 annex C.5
#: how long an object that is not kept waits before it is sent again; it doubles with each round
_RESEND_AFTER = timedelta(seconds=30)


def allow_reports(application: AE) -> None:
    """Let archives report: in this context they are the SCP, and we the SCU (PS3.7 D.3.3.4).

    The roles are answered as (False, True): strict archives want exactly that. It is added last,
    because pynetdicom forgets the roles of contexts that are set as a list.
    """
    application.add_supported_context(
        StorageCommitmentPushModel,
        [ExplicitVRLittleEndian, ImplicitVRLittleEndian],
        scu_role=False,
        scp_role=True,
    )


class CommitmentReports:
    """Takes reports from the peers that owe us proofs; shared by all handler threads."""

    def __init__(self, commitments: Commitments, *, peers: Iterable[PeerSection]) -> None:
        self._commitments = commitments
        self._names: dict[str, list[str]] = {}
        self.follow(peers)

    def follow(self, peers: Iterable[PeerSection]) -> None:
        """Take these peers into force."""
        names: dict[str, list[str]] = {}
        for peer in peers:
            if peer.destination and peer.commitment is CommitmentKind.STORAGE_COMMITMENT:
                names.setdefault(peer.ae_title.strip(), []).append(peer.name)
        self._names = names

    @property
    def ae_titles(self) -> frozenset[str]:
        """Return who may open an association to report, whether or not it may also send."""
        return frozenset(self._names)

    def handle(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take one N-EVENT-REPORT; Success only when what it says is committed to our database."""
        request = event.assoc.requestor.primitive
        calling_ae = str(request.calling_ae_title).strip() if request else ""
        names = self._names.get(calling_ae)
        if names is None:
            log.warning("commitment.refused", calling_ae=calling_ae, reason="calling_ae")
            return NOT_AUTHORISED, None
        try:
            report = read_commitment_report(event.event_information, event_type=event.event_type)
            moved = self._commitments.settle(report, destinations=names, delay=_RESEND_AFTER)
        except CommitmentReportError as error:
            log.warning("commitment.refused", calling_ae=calling_ae, code=error.code)
            return INVALID_ARGUMENT, None
        except Exception:  # noqa: BLE001 - the archive must hear that its report was not taken
            log.exception("commitment.failed", calling_ae=calling_ae)
            return PROCESSING_FAILURE, None
        log.info("commitment.reported", calling_ae=calling_ae, count=moved)
        return SUCCESS, None
