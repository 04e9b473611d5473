"""What the statement says of the SCU: proposals, statuses and what becomes of them."""

from itertools import groupby

from pydicom.uid import UID, SecondaryCaptureImageStorage
from pynetdicom.sop_class import (  # type: ignore[attr-defined] # made at run time
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from schemas.config import DeliverySection, PeerSection
from worker.delivery.scu import ANSWER_SECONDS, MAXIMUM_PDU_SIZE, TRANSFER_SYNTAXES
from worker.delivery.statuses import DUPLICATE_SOP_INSTANCE, Verdict, judge
from worker.operations.conformance.markdown import table
from worker.reporting.identities import SR_CLASS_UIDS

_MEANINGS = {
    Verdict.STORED: "stored",
    Verdict.RETRY: "again, later",
    Verdict.CLASS_REFUSED: "the next SR class of the destination; after the last an operator",
    Verdict.LIMITED: "three tries, then an operator",
    Verdict.PERMANENT: "an operator",
}
_HIGHEST_STATUS = 0xFFFF


def associations(section: DeliverySection) -> str:
    """Return limits and time-outs."""
    rows = (
        ("maximum PDU that we take", f"{MAXIMUM_PDU_SIZE} bytes"),
        ("time to connect and negotiate", f"{section.connect_timeout_seconds:g} s"),
        ("time for an answer", f"{ANSWER_SECONDS:g} s and the time of the transfer"),
        ("pause before the second try", f"{section.first_retry_seconds:g} s, doubling"),
        ("longest pause", f"{section.longest_retry_seconds:g} s"),
        ("time for a storage commitment", f"{section.commitment_timeout_seconds:g} s"),
        ("given up after", f"{section.give_up_after_days:g} days"),
    )
    return table(("parameter", "value"), rows)


def destinations(peers: tuple[PeerSection, ...]) -> str:
    """Return who gets what."""
    rows = [
        (
            peer.name,
            f"`{peer.ae_title}`",
            f"{peer.host}, port {peer.port}{', TLS' if peer.tls else ''}",
            ", ".join(kind.value for kind in peer.objects),
            ", ".join(kind.value for kind in peer.sr_classes),
            peer.commitment.value,
        )
        for peer in peers
        if peer.destination
    ]
    heads = ("destination", "AE title", "address", "objects", "SR classes", "proof of storage")
    return table(heads, rows) if rows else "Destinations are configured as `[[peer]]`."


def syntaxes() -> str:
    """Return what is proposed, best first."""
    return ", ".join(f"{UID(uid).name} (`{uid}`)" for uid in TRANSFER_SYNTAXES)


def proposals() -> str:
    """Return every SOP class that we may propose, and when."""
    reports = [
        (uid, f"`{name.value}` in its `sr_classes`; of these, the first that is taken is sent")
        for name, uid in SR_CLASS_UIDS.items()
    ]
    others = (
        (SecondaryCaptureImageStorage, "`SC` or `HEATMAP` in its `objects`: RGB, Modality OT"),
        (StorageCommitmentPushModel, '`commitment = "storage_commitment"`'),
        (StudyRootQueryRetrieveInformationModelFind, '`commitment = "find"`, `find_when_silent`'),
        (Verification, "`boneage peers echo`; to see whether a destination is back"),
    )
    rows = [(UID(uid).name, f"`{uid}`", when) for uid, when in (*reports, *others)]
    return table(("SOP class", "UID", "when"), rows)


def statuses() -> str:
    """Return what every status of a C-STORE means, by asking for each."""
    judged = [(judge(number, is_ours=False), number) for number in range(_HIGHEST_STATUS + 1)]
    spans: dict[Verdict, list[str]] = {}
    for verdict, group in groupby(judged, key=lambda pair: pair[0]):
        numbers = [number for _, number in group]
        spans.setdefault(verdict, []).append(_span(numbers[0], numbers[-1]))
    spans[Verdict.LIMITED] = ["all others"]
    spans[Verdict.STORED].append(f"{_span(*[DUPLICATE_SOP_INSTANCE] * 2)} if it had the same bytes")
    rows = [(", ".join(spans[verdict]), words) for verdict, words in _MEANINGS.items()]
    return table(("status", "taken as"), rows)


def _span(first: int, last: int) -> str:
    return f"0x{first:04X}" if first == last else f"0x{first:04X} to 0x{last:04X}"
