"""What a peer accepts of what we would send it: one association, nothing stored."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from schemas.config import CommitmentKind, PeerSection
from schemas.jobs import ObjectKind
from worker.operations.peer import PeerAwayError, associate
from worker.reporting.identities import SR_CLASS_UIDS

#: what `deliver` offers (worker.delivery.scu)
_SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_SYNTAX_NAMES: Final = MappingProxyType(
    {str(ExplicitVRLittleEndian): "explicit", str(ImplicitVRLittleEndian): "implicit"}
)
_REPORTS: Final = tuple(str(uid) for uid in SR_CLASS_UIDS.values())
_CAPTURE: Final = str(SecondaryCaptureImageStorage)
_COMMITMENT: Final = str(StorageCommitmentPushModel)
_FIND: Final = str(StudyRootQueryRetrieveInformationModelFind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one peer said."""

    peer: str
    echo_status: int | None  #: of C-ECHO; None: it does not even take Verification
    milliseconds: float  #: for the association and the echo
    #: SOP Class UID to the transfer syntaxes that it takes of ours, "explicit", "implicit"
    accepted: Mapping[str, tuple[str, ...]]

    def takes(self, sop_class_uid: str) -> bool:
        """Say whether it takes objects of this class."""
        return bool(self.accepted.get(sop_class_uid))


def probe(peer: PeerSection, *, calling_ae: str, timeout_seconds: float = 10) -> Probe:
    """Offer ``peer`` everything that we may want of it, and return what it accepts.

    Raises:
        PeerAwayError: no association, or no answer to C-ECHO.
        TlsFilesError: its `[peer.tls]` names files that cannot be used.
    """
    started = time.monotonic()
    offered = (*_REPORTS, _CAPTURE, _COMMITMENT, _FIND)
    association = associate(
        peer,
        [
            build_context(Verification),
            *(build_context(uid, each) for uid in offered for each in _SYNTAXES),
        ],
        calling_ae=calling_ae,
        timeout_seconds=timeout_seconds,
    )
    accepted: dict[str, tuple[str, ...]] = dict.fromkeys(offered, ())
    for context in association.accepted_contexts:
        uid = str(context.abstract_syntax)
        if uid in accepted:
            name = _SYNTAX_NAMES[str(context.transfer_syntax[0])]
            accepted[uid] = (*accepted[uid], name)
    takes_echo = any(cx.abstract_syntax == Verification for cx in association.accepted_contexts)
    try:
        answer = association.send_c_echo() if takes_echo else None
    finally:
        if association.is_established:
            association.release()
    if answer is not None and "Status" not in answer:
        raise PeerAwayError(peer=peer, found="it did not answer C-ECHO")
    return Probe(
        peer=peer.name,
        echo_status=None if answer is None else int(answer.Status),
        milliseconds=(time.monotonic() - started) * 1000,
        accepted=MappingProxyType(accepted),
    )


def shortcomings(peer: PeerSection, found: Probe) -> tuple[str, ...]:
    """Return what the settings want of ``peer`` and it does not take."""
    missing = []
    wanted = tuple(str(SR_CLASS_UIDS[each]) for each in peer.sr_classes)
    if ObjectKind.SR in peer.objects and not any(map(found.takes, wanted)):
        missing.append("no Structured Report class that sr_classes offers")
    captures = {ObjectKind.SC, ObjectKind.HEATMAP} & set(peer.objects)
    if captures and not found.takes(_CAPTURE):
        missing.append("no Secondary Capture")
    commitment = peer.commitment
    if commitment is CommitmentKind.STORAGE_COMMITMENT and not found.takes(_COMMITMENT):
        missing.append('no storage commitment, though commitment = "storage_commitment"')
    asks = commitment is CommitmentKind.FIND or peer.find_when_silent
    if asks and not found.takes(_FIND):
        missing.append("no C-FIND (Study Root), though its proof is asked for by it")
    return tuple(missing)


def names_of(found: Probe) -> dict[str, str]:
    """Return each class by its name in the standard, and how it is taken."""
    return {UID(uid).name: ", ".join(how) or "no" for uid, how in found.accepted.items()}
